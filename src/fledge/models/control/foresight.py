"""All that a planner has learned of a world: how it moves on, what is still to come where the
looking ahead stops, and what is new in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.control.mlp import mlp
from fledge.models.control.random_distillation import RandomDistillation
from fledge.models.control.running_scale import SMALLEST, RunningScale
from fledge.models.control.world_ensemble import SIGMAS, WorldEnsemble
from fledge.worlds.world import Choices, Space

MOST_STEPS = 1000  # that a reward is thought to go on for, however little is discounted


class StateValue(nn.Module):
    """V(s) = (m + r·n(s)) / (1 − γ): m and r are the rewards' mean and root mean square so far, n a
    perceptron over scaled numbers. Of states that can be counted V is one number for each, 0 at
    first: what has ended is among them, and earns nothing.

    A network that begins near 0 so says that it goes on for ever as it was on average: nothing bad
    is thought of what was never visited, and the unit of what is to be learned is known. In units
    of 1 it learned for a thousand steps of CartPole how large a hundred is, and leaned to the side
    that it had happened to see.
    """

    def __init__(
        self,
        observation: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int],
        gamma: float = 0.99,
    ) -> None:
        super().__init__()
        self.reach = min(1 / (1 - gamma), MOST_STEPS) if gamma < 1 else float(MOST_STEPS)
        self.paid = None if isinstance(observation, Choices) else RunningScale(1)
        if isinstance(observation, Choices):
            self.network = nn.Sequential(nn.Linear(observation.sizes[0], 1, bias=False))
            nn.init.zeros_(self.network[0].weight)  # pyright: ignore[reportArgumentType]
        else:
            sizes = (math.prod(observation.shape), *widths, 1)
            self.network = mlp(sizes, generator=generator, last_gain=0.01)

    @property
    def unit(self) -> Tensor:
        """What an output of 1 is worth; 1 before anything was paid.  -> [1]"""
        if self.paid is None:
            return torch.ones(1)
        size = (self.paid.variance + self.paid.mean.square()).sqrt() * self.reach
        return torch.where(size > SMALLEST, size, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """[..., O], or the chance of every state [..., S] -> [...]"""
        said = self.network(x).squeeze(-1)
        return said if self.paid is None else self.reach * self.paid.mean + self.unit * said


class Foresight(nn.Module):
    """world: None where the true one is looked ahead in. value: None where nothing is said of what
    lies beyond the horizon. seen: what numbers are scaled by, for all of them.
    """

    def __init__(
        self,
        observation: Space,
        world: WorldEnsemble | None,
        *,
        generator: torch.Generator,
        widths: Sequence[int],
        terminal_value: bool,
        distilled: bool,
        gamma: float = 0.99,
    ) -> None:
        super().__init__()
        self.world, self.value, self.novelty = world, None, None
        self.states = observation.sizes[0] if isinstance(observation, Choices) else None
        self.dims = len(observation.shape)
        width = 1 if self.states else math.prod(observation.shape)
        self.own_scale = RunningScale(width) if world is None else None
        if terminal_value:
            self.value = StateValue(observation, generator=generator, widths=widths, gamma=gamma)
        if distilled:
            self.novelty = RandomDistillation(width, generator=generator)

    def scale(self, obs: Tensor) -> Tensor:
        """As value and novelty are shown it: numbers in spreads from their mean; of states the
        chance of each.  [..., *O] or [..., S] -> [..., O] or [..., S]
        """
        if self.states is not None:
            chance = obs if obs.is_floating_point() else F.one_hot(obs.long(), self.states)
            return chance.float()
        seen = self.world.seen if self.world is not None else self.own_scale
        assert seen is not None
        flat = obs.flatten(obs.ndim - self.dims) if self.dims > 1 else obs
        return seen.scale(flat).clamp(-SIGMAS, SIGMAS)

    def watch(self, obs: Tensor, reward: Tensor, next_obs: Tensor) -> None:
        """Steps that have come are counted into what numbers are scaled by.  [N, *O], [N], [N,
        *O]
        """
        if self.value is not None and self.value.paid is not None:
            self.value.paid.count_in(reward[:, None])
        if self.world is not None:
            self.world.watch(obs, reward, next_obs)
        elif self.states is None and self.own_scale is not None:
            self.own_scale.count_in(obs.flatten(1))
