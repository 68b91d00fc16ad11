"""Actors for real numbers between bounds: tanh of a Gaussian, with the density that it really has,
and tanh of one number.

Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications"), appendix C; the one without
noise: Fujimoto et al. 2018. Networks and densities are in units of the bounds, −1 to 1, so that
nothing learned depends on the world's; actions are the world's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.control.action_heads import LOG_2PI
from fledge.models.control.actor_critic import Encoder
from fledge.models.control.mlp import mlp
from fledge.worlds.world import Box, Space

# Of the source's reference code: beyond them tanh leaves nothing to learn from.
LEAST_LOG_STD, MOST_LOG_STD = -20.0, 2.0


class Bounds(nn.Module):
    """From −1…1 to the world's own units and back."""

    centre: Tensor
    reach: Tensor

    def __init__(self, action: Space) -> None:
        """Raises UserError for actions that are not real numbers between finite bounds."""
        super().__init__()
        if (
            not isinstance(action, Box)
            or not action.bounded
            or not bool((action.low < action.high).all())
        ):
            raise UserError(
                f"actions {action} were given: real numbers, each between a lower and a higher "
                "finite bound, are wanted. Use DQN for one choice out of n, or PPO for numbers "
                "without bounds."
            )
        low, high = action.low.float(), action.high.float()
        self.shape, self.width = action.shape, low.numel()
        self.register_buffer("centre", ((high + low) / 2).flatten())
        self.register_buffer("reach", ((high - low) / 2).flatten())

    def to_world(self, unit: Tensor) -> Tensor:
        """[N, width] -> [N, *A]"""
        return torch.addcmul(self.centre, unit, self.reach).view(-1, *self.shape)

    def to_unit(self, action: Tensor) -> Tensor:
        """[N, *A] -> [N, width]"""
        return (action.reshape(len(action), -1) - self.centre) / self.reach

    def draw_anywhere(self, n: int, generator: torch.Generator) -> Tensor:
        """Even over the whole box.  -> [n, *A]"""
        return self.to_world(
            2 * torch.rand((n, self.width), generator=generator).to(self.centre.device) - 1
        )


class GaussianActor(nn.Module):
    """a = centre + reach · tanh(u), u normal with a mean and a spread of its own in every state.

    It carries the temperature α, what a nat of its entropy is worth in reward, which is learned
    with it.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = (256, 256),
        encoder: Encoder | None = None,
    ) -> None:
        """widths: of the hidden layers. encoder: normalises what actor and critics see alike;
        without it they see it as it is.

        Raises UserError as `Bounds` does.
        """
        super().__init__()
        self.bounds, self.encoder = Bounds(action), encoder or Encoder(observation, normalise=False)
        sizes = (self.encoder.width, *widths, 2 * self.bounds.width)
        self.network = mlp(sizes, generator=generator, activation=nn.ReLU, last_gain=0.01)
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def numbers(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of u.  [N, *O] -> [N, width] each"""
        mean, log_std = self.network(self.encoder(obs)).chunk(2, -1)
        return mean, log_std.clamp(LEAST_LOG_STD, MOST_LOG_STD)

    def forward(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The action that standard normal noise makes, differentiable, and its log-density in units
        of the bounds.

        log π(a|s) = log N(u) − Σ log(1 − tanh² u).  [N, *O], [N, width] -> [N, *A], [N]
        """
        mean, log_std = self.numbers(obs)
        u = torch.addcmul(mean, log_std.exp(), noise)
        normal = -0.5 * noise.square() - log_std - 0.5 * LOG_2PI
        # log(1 − tanh² u), also where tanh² rounds to 1
        squeezed = 2 * (math.log(2) - u - F.softplus(-2 * u))
        return self.bounds.to_world(u.tanh()), (normal - squeezed).sum(-1)

    def best(self, obs: Tensor) -> Tensor:
        """[N, *O] -> [N, *A]"""
        return self.bounds.to_world(self.numbers(obs)[0].tanh())


class DeterministicActor(nn.Module):
    """a = centre + reach · clip(tanh(u) + noise, −1, 1), u a network's."""

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = (256, 256),
        encoder: Encoder | None = None,
    ) -> None:
        """widths: of the hidden layers. encoder: normalises what actor and critics see alike;
        without it they see it as it is.

        Raises UserError as `Bounds` does.
        """
        super().__init__()
        self.bounds, self.encoder = Bounds(action), encoder or Encoder(observation, normalise=False)
        sizes = (self.encoder.width, *widths, self.bounds.width)
        self.network = mlp(sizes, generator=generator, activation=nn.ReLU, last_gain=0.01)

    def forward(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        """noise: in units of the bounds.  [N, *O], [N, width] -> [N, *A]"""
        unit = self.network(self.encoder(obs)).tanh()
        return self.bounds.to_world(unit if noise is None else (unit + noise).clamp(-1, 1))
