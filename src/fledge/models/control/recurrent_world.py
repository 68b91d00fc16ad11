"""RSSM: a learned world that is not seen as it is, but in pictures or numbers that say a part of
it; what was seen before is carried in a state, part of it certain, part of it drawn.

Hafner et al. 2019, "Learning Latent Dynamics for Planning from Pixels", eqs. 4 and 8; free nats and
both sides of the KL weighed apart: Hafner et al. 2021, "Mastering Atari with Discrete World
Models", algorithm 2. A state is [N, D + Z]: h of a GRU, and z, normal given h (the prior), or
given h and what is seen (the posterior).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.trajectories import Rows
from fledge.worlds.world import Box, Choices, Space

SIDES = (16, 24, 32)  # pixels a picture may have: three times halved
LEAST_SPREAD = 0.1  # of z, as in the paper's code
PRIOR_SHARE = 0.8  # of the KL that moves what is foretold; the rest what is found out


@dataclass(frozen=True)
class Windows(Rows):
    """N rows of T steps that follow each other, episodes running on into the next."""

    obs: Tensor  # [N, T+1, *O]
    action: Tensor  # [N, T, *A]
    reward: Tensor  # [N, T]
    terminated: Tensor  # [N, T] bool
    chosen: Tensor  # [N, T] bool: where False the next observation begins an episode
    noise: Tensor  # [N, T+1, Z], of the z that are drawn


class Nats(NamedTuple):
    """Of each row, sums over its steps, [N] each."""

    seen: Tensor  # of the observations: ½ squared error
    code: Tensor  # KL of what is found out from what was foretold
    reward: Tensor
    end: Tensor


def into_codes(observation: Space, width: int) -> nn.Module:
    """Pictures by three convolutions, numbers by a perceptron.  [N, *O] -> [N, width]

    Raises UserError for choices, and for pictures of another size.
    """
    if not isinstance(observation, Box):
        raise UserError(
            f"observations {observation} were given: algorithm=dreamer learns from pictures and "
            "numbers. Give dyna, prioritised_sweeping or psrl for states that can be counted."
        )
    if not is_picture(observation):
        numbers = math.prod(observation.shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(numbers, width), nn.SiLU())
    channels, height, side = observation.shape
    if height != side or side not in SIDES:
        raise UserError(
            f"pictures of {height} × {side} pixels were given: algorithm=dreamer takes squares of "
            f"{', '.join(map(str, SIDES))} pixels a side, channels first. Make them so, or give "
            "algorithm=dqn."
        )
    layers: list[nn.Module] = []
    for inside, outside in ((channels, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inside, outside, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * (side // 8) ** 2, width), nn.SiLU())


def out_of_codes(observation: Box, width: int) -> nn.Module:
    """[N, width] -> [N, *O]"""
    if not is_picture(observation):
        numbers = math.prod(observation.shape)
        layers = (nn.Linear(width, 64), nn.SiLU(), nn.Linear(64, numbers))
        return nn.Sequential(*layers, nn.Unflatten(1, observation.shape))
    channels, _, side = observation.shape
    corner = side // 8
    return nn.Sequential(
        nn.Linear(width, 32 * corner**2), nn.SiLU(), nn.Unflatten(1, (32, corner, corner)),
        nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.SiLU(),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.SiLU(),
        nn.ConvTranspose2d(16, channels, 4, stride=2, padding=1),
    )  # fmt: skip


# Of a pixel, from -0.5 to 0.5. With a spread of 1 a gridworld's walker is five nats of its picture,
# little beside what its place costs a code: the world foretold the mean of all pictures.
PIXEL_SPREAD = 0.2


def is_picture(observation: Space) -> bool:
    """Whether it is uint8, channels first."""
    if not isinstance(observation, Box):
        return False
    return observation.low.dtype == torch.uint8 and len(observation.shape) == 3


class RecurrentWorld(nn.Module):
    """deterministic, stochastic: numbers of h and of z."""

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        deterministic: int = 96,
        stochastic: int = 16,
        width: int = 96,
        free_nats: float = 1.0,
    ) -> None:
        """Raises UserError for observations that are choices, and pictures of another size."""
        super().__init__()
        self.free_nats, self.stochastic = free_nats, stochastic
        self.pictures = is_picture(observation)
        self.choices = action.sizes[0] if isinstance(action, Choices) else None
        self.acted = self.choices or math.prod(action.shape)
        self.deterministic, self.width = deterministic, deterministic + stochastic
        self.into = into_codes(observation, width)
        self.before = nn.Sequential(nn.Linear(stochastic + self.acted, width), nn.SiLU())
        self.cell = nn.GRUCell(width, deterministic)
        self.prior = _make_head(deterministic, width, 2 * stochastic)
        self.posterior = _make_head(deterministic + width, width, 2 * stochastic)
        assert isinstance(observation, Box)  # else `into_codes` has said so
        self.out = out_of_codes(observation, self.width)
        self.reward = _make_head(self.width, width, 1)
        self.end = _make_head(self.width, width, 1)
        for part in self.modules():  # from the generator, whatever the process has drawn before
            if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(part.weight, generator=generator)
                nn.init.zeros_(part.bias)  # pyright: ignore[reportArgumentType]
        for name, weight in self.cell.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(weight, generator=generator)
            else:
                nn.init.zeros_(weight)

    def begin(self, rows: int) -> Tensor:
        """Before anything was seen.  -> [N, D + Z]"""
        return torch.zeros(rows, self.width, device=self.cell.weight_ih.device)

    def nothing_done(self, rows: int) -> Tensor:
        """The action before the first observation.  -> [N, A]"""
        return torch.zeros(rows, self.acted, device=self.cell.weight_ih.device)

    def as_numbers(self, action: Tensor) -> Tensor:
        """One-hot choices, flat numbers.  [N, *A] -> [N, A]"""
        if self.choices is not None:
            return F.one_hot(action, self.choices).float()
        return action.flatten(1)

    def encode(self, obs: Tensor) -> Tensor:
        """[N, *O] -> [N, width]"""
        return self.into(self.as_seen(obs))

    def as_seen(self, obs: Tensor) -> Tensor:
        """Pictures from −½ to ½, numbers as they are."""
        return obs.float() / 255 - 0.5 if self.pictures else obs.float()

    def foretell(self, state: Tensor, done: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """h after an action, and mean and spread of z given it alone.  [N, D + Z], [N, A] -> [N,
        D], [N, Z], [N, Z]
        """
        h, z = state.split([self.deterministic, self.stochastic], -1)
        h = self.cell(self.before(torch.cat([z, done], -1)), h)
        return h, *_spread(self.prior(h))

    def observe(
        self, state: Tensor, done: Tensor, code: Tensor, noise: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The state once the next observation is seen, and mean and spread of its z by the prior
        and by the posterior.  noise: [N, Z]
        """
        h, *foretold = self.foretell(state, done)
        mean, spread = _spread(self.posterior(torch.cat([h, code], -1)))
        z = torch.addcmul(mean, spread, noise)
        return torch.cat([h, z], -1), (foretold[0], foretold[1]), (mean, spread)

    def imagine(self, state: Tensor, done: Tensor, noise: Tensor) -> Tensor:
        """The state after an action, nothing seen.  [N, D + Z], [N, A], [N, Z] -> [N, D + Z]"""
        h, mean, spread = self.foretell(state, done)
        return torch.cat([h, torch.addcmul(mean, spread, noise)], -1)

    def follow(self, rows: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """The states along what happened, and KL(posterior ‖ prior) of each twice: as it moves the
        prior, and as it moves the posterior.  -> [N, T+1, D + Z], [N, T+1] twice
        """
        N, T = rows.reward.shape
        code = self.encode(rows.obs.flatten(0, 1)).view(N, T + 1, -1)
        state, done, states, sides = self.begin(N), self.nothing_done(N), [], []
        for t in range(T + 1):
            state, prior, posterior = self.observe(state, done, code[:, t], rows.noise[:, t])
            states.append(state)
            still, settled = ((x[0].detach(), x[1].detach()) for x in (prior, posterior))
            sides.append((kl_between(*settled, *prior), kl_between(*posterior, *still)))
            if t < T:
                goes_on = rows.chosen[:, t, None].to(state.dtype)
                state, done = state * goes_on, self.as_numbers(rows.action[:, t]) * goes_on
        moves_prior, moves_posterior = (torch.stack(each, 1) for each in zip(*sides, strict=True))
        return torch.stack(states, 1), moves_prior, moves_posterior

    def losses(self, rows: Windows) -> tuple[Nats, Tensor]:
        """-> nats of each row, and the states [N, T+1, D + Z]"""
        states, *sides = self.follow(rows)
        shown = self.out(states.flatten(0, 1)).view(rows.obs.shape)
        spread = PIXEL_SPREAD if self.pictures else 1.0
        away = (shown - self.as_seen(rows.obs)) / spread
        seen = 0.5 * away.square().flatten(2).sum(2).sum(1)
        kl = [each.clamp(min=self.free_nats).sum(1) for each in sides]
        code = PRIOR_SHARE * kl[0] + (1 - PRIOR_SHARE) * kl[1]
        reward, end = self.tell(states[:, 1:])
        paid = 0.5 * (reward - rows.reward).square()
        over = F.binary_cross_entropy_with_logits(
            end, rows.terminated.to(end.dtype), reduction="none"
        )
        mine = rows.chosen.to(end.dtype)
        return Nats(seen, code, (paid * mine).sum(1), (over * mine).sum(1)), states

    def tell(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """What arriving there pays, and the log-odds that it ends there.  [..., D + Z] -> [...]
        twice
        """
        return self.reward(state).squeeze(-1), self.end(state).squeeze(-1)


def _make_head(inside: int, width: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, outside))


def kl_between(mean: Tensor, spread: Tensor, of_mean: Tensor, of_spread: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(m, s²)) = log s/σ + (σ² + (μ − m)²)/2s² − ½, summed.  [N, Z] each -> [N]"""
    ratio = (spread / of_spread).square()
    away = ((mean - of_mean) / of_spread).square()
    return 0.5 * (ratio + away - 1 - ratio.log()).sum(-1)


def _spread(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation."""
    mean, raw = numbers.chunk(2, -1)
    return mean, F.softplus(raw) + LEAST_SPREAD
