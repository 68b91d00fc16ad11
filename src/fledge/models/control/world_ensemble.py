"""A learned world of numbers: networks that each say a normal distribution of what comes next, all
of them in one product a layer.

Chua et al. 2018, "Deep Reinforcement Learning in a Handful of Trials", section 4 and appendix A.1:
several networks for what is not known yet, a spread each for what is by chance, and log-variances
between two bounds that learn too. One network is the plain Gaussian model. Members differ by their
first weights and by the rows that they learn from, which is enough (Lakshminarayanan et al. 2017,
section 2.4).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.control.action_heads import LOG_2PI
from fledge.models.control.imagined import Imagined
from fledge.models.control.running_scale import RunningScale
from fledge.trajectories import Rows
from fledge.worlds.world import Box, Choices, Space

MOST_LOG_VARIANCE, LEAST_LOG_VARIANCE = 0.5, -10.0  # of scaled numbers, at the beginning
BOUNDS_COST = 0.01  # that the bounds come together (Chua et al. 2018, appendix A.1)
WITHIN_90 = 1.6449  # standard deviations
SIGMAS = 10.0  # of what was seen: no input is farther out


@dataclass(frozen=True)
class MemberSteps(Rows):
    """N rows of a step for each of E members."""

    obs: Tensor  # [N, E, *O]
    action: Tensor  # [N, E, *A]
    reward: Tensor  # [N, E]
    next_obs: Tensor  # [N, E, *O]
    terminated: Tensor  # [N, E] bool


class Foretold(NamedTuple):
    """Of each of E members and R rows: mean and log-variance of the scaled change of every number
    observed and of the reward, [E, R, O+1].
    """

    mean: Tensor
    log_variance: Tensor


class MemberLayers(nn.Module):
    """Perceptrons side by side, SiLU between their layers: one batched product a layer."""

    def __init__(self, members: int, widths: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.weight, self.bias = nn.ParameterList(), nn.ParameterList()
        for inside, outside in itertools.pairwise(widths):
            # normal, cut at two deviations, of half the usual size: as in the paper's code
            weight = torch.empty(members, inside, outside)
            nn.init.trunc_normal_(weight, std=1.0, a=-2.0, b=2.0, generator=generator)
            self.weight.append(nn.Parameter(weight / (2 * math.sqrt(inside))))
            self.bias.append(nn.Parameter(torch.zeros(members, 1, outside)))

    def forward(self, x: Tensor) -> Tensor:
        """[E, R, widths[0]] -> [E, R, widths[-1]]"""
        last = len(self.weight) - 1
        for i, (weight, bias) in enumerate(zip(self.weight, self.bias, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if i < last:
                x = F.silu(x, inplace=not x.requires_grad)
        return x


class WorldEnsemble(nn.Module):
    """s′ = s + change: each member says a normal distribution of the change and of the reward; and
    how likely the episode is to end where it leads, by layers of their own: as a part of the others
    it was hardly learned, for their gradient grows as they become sure. A planner's state is what
    each member has come to, [E, R, O]: a member is kept to for a whole sequence ("TS∞", Chua et al.
    2018, section 5).

    sampled: whether its steps are drawn from the distributions, or are their means.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        members: int = 5,
        widths: Sequence[int] = (64, 64),
        sampled: bool = True,
    ) -> None:
        """Raises UserError for observations that are no row of numbers."""
        super().__init__()
        if not isinstance(observation, Box) or observation.low.dtype == torch.uint8:
            raise UserError(
                f"observations {observation} were given: an ensemble learns a world of numbers. "
                "Give algorithm=dyna for states that can be counted, or dreamer for pictures."
            )
        self.members, self.sampled, self.shape = members, sampled, observation.shape
        self.width = math.prod(observation.shape)
        self.choices = action.sizes[0] if isinstance(action, Choices) else None
        acted = self.choices or math.prod(action.shape)
        self.seen, self.changed = RunningScale(self.width), RunningScale(self.width + 1)
        sizes = (self.width + acted, *widths, 2 * (self.width + 1))
        self.layers = MemberLayers(members, sizes, generator)
        self.ends = MemberLayers(members, (self.width, *widths[-1:], 1), generator)
        self.most = nn.Parameter(torch.full((self.width + 1,), MOST_LOG_VARIANCE))
        self.least = nn.Parameter(torch.full((self.width + 1,), LEAST_LOG_VARIANCE))

    def observe(self, state: Tensor) -> Tensor:
        """[E, R, O] -> [E, R, *O]"""
        return state.unflatten(-1, self.shape) if len(self.shape) > 1 else state

    @torch.no_grad()
    def watch(self, obs: Tensor, reward: Tensor, next_obs: Tensor) -> None:
        """Steps that have come are counted into what all numbers are scaled by.  [N, *O], [N],
        [N, *O]
        """
        before, after = obs.flatten(1), next_obs.flatten(1)
        self.seen.count_in(before)
        self.changed.count_in(torch.cat([after - before, reward[:, None]], 1))

    def foretell(self, state: Tensor, action: Tensor) -> Foretold:
        """state: [E, R, O]; action: [R] or [E, R] of choices, [R, A] or [E, R, A] of numbers."""
        if self.choices is not None:
            done = F.one_hot(action, self.choices).to(state.dtype)
        else:
            done = action
        inside = self.seen.scale(state).clamp_(-SIGMAS, SIGMAS)
        both = torch.cat([inside, done.expand(len(state), -1, -1)], -1)
        mean, raw = self.layers(both).chunk(2, -1)
        bounded = self.most - F.softplus(self.most - raw)
        log_variance = self.least + F.softplus(bounded - self.least)
        return Foretold(mean, log_variance)

    def tell_end(self, state: Tensor) -> Tensor:
        """Log-odds that the episode ends where a step leads.  [E, R, O] -> [E, R]"""
        inside = self.seen.scale(state).clamp_(-SIGMAS, SIGMAS)
        return self.ends(inside).squeeze(-1)

    def losses(self, rows: MemberSteps) -> tuple[Tensor, Tensor]:
        """Nats of the changes and rewards, and of whether it ended, of each row: sums over the
        members.  -> [N], [N]
        """
        obs, after = (x.flatten(2).transpose(0, 1) for x in (rows.obs, rows.next_obs))  # [E, N, O]
        action = rows.action.transpose(0, 1)
        action = action if self.choices is not None else action.flatten(2)
        said = self.foretell(obs, action)
        reward = rows.reward.T[..., None]
        target = self.changed.scale(torch.cat([after - obs, reward], -1))
        error = (said.mean - target).square() * (-said.log_variance).exp()
        nats = 0.5 * (error + said.log_variance + LOG_2PI).sum(-1)
        end = self.tell_end(after)
        ended = rows.terminated.T.to(end.dtype)
        ends = F.binary_cross_entropy_with_logits(end, ended, reduction="none")
        return nats.sum(0), ends.sum(0)

    def cost_of_bounds(self) -> Tensor:
        """-> []"""
        return BOUNDS_COST * (self.most.sum() - self.least.sum())

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        """[B, *O] -> [E, B·N, O]"""
        rows = obs.flatten(1).repeat_interleave(candidates, 0)
        return rows.expand(self.members, -1, -1)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        """What each member comes to."""
        said = self.foretell(state, action)
        change = said.mean
        if self.sampled:
            noise = torch.randn(change.shape, generator=generator, dtype=change.dtype)
            change = torch.addcmul(change, (0.5 * said.log_variance).exp(), noise)
        change = self.changed.unscale(change)
        after = state + change[..., :-1]
        return Imagined(after, change[..., -1], torch.sigmoid(-self.tell_end(after)))

    def mix(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what all members together say is observed next, and paid:
        the mean of their variances, and the variance of their means.  [R, *O], [R, *A] -> [R, O+1]
        each, in the world's units
        """
        state = self.begin(obs, 1)
        action = action if self.choices is not None else action.flatten(1)
        said = self.foretell(state, action)
        mean = said.mean.mean(0)
        variance = said.log_variance.exp().mean(0) + said.mean.var(0, correction=0)
        ahead = self.changed.unscale(mean)
        moved = torch.cat([obs.flatten(1), torch.zeros_like(ahead[:, -1:])], 1)
        return ahead + moved, variance.sqrt() * self.changed.spread


def disagreement(ensemble: WorldEnsemble, state: Tensor) -> Tensor:
    """How far apart the members have come, a standard deviation in units of the spread of what was
    seen, the mean over all numbers (Pathak et al. 2019, "Self-Supervised Exploration via
    Disagreement").  [E, R, O] -> [1, R]
    """
    return (state.std(0, correction=0) / ensemble.seen.spread).mean(-1)[None]


def judge_foretold(
    ensemble: WorldEnsemble, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor
) -> dict[str, float]:
    """How well steps were foretold: the root mean square error in spreads of a change, and the
    share of all numbers within the interval for 90 %.  [N, *O], [N, *A], [N], [N, *O]
    """
    mean, spread = ensemble.mix(obs, action)
    off = torch.cat([next_obs.flatten(1), reward[:, None]], 1) - mean
    error = (off / ensemble.changed.spread).square().mean().sqrt()
    within = (off.abs() <= WITHIN_90 * spread).float().mean()
    return {"foretold_error": float(error), "foretold_within_90": float(within)}
