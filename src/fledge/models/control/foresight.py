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
from fledge.models.control.running_scale import RunningScale
from fledge.models.control.world_ensemble import SIGMAS, WorldEnsemble
from fledge.worlds.world import Choices, Space


class StateValue(nn.Module):
    """V(s): a perceptron over scaled numbers, or one number for each choice."""

    def __init__(
        self, observation: Space, *, generator: torch.Generator, widths: Sequence[int]
    ) -> None:
        super().__init__()
        if isinstance(observation, Choices):
            self.network = nn.Sequential(nn.Linear(observation.sizes[0], 1, bias=False))
            nn.init.zeros_(self.network[0].weight)  # pyright: ignore[reportArgumentType]
        else:
            sizes = (math.prod(observation.shape), *widths, 1)
            self.network = mlp(sizes, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """[..., O], or the chance of every state [..., S] -> [...]"""
        return self.network(x).squeeze(-1)


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
    ) -> None:
        super().__init__()
        self.world, self.value, self.novelty = world, None, None
        self.states = observation.sizes[0] if isinstance(observation, Choices) else None
        self.dims = len(observation.shape)
        width = 1 if self.states else math.prod(observation.shape)
        self.own_scale = RunningScale(width) if world is None else None
        if terminal_value:
            self.value = StateValue(observation, generator=generator, widths=widths)
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
        if self.world is not None:
            self.world.watch(obs, reward, next_obs)
        elif self.states is None and self.own_scale is not None:
            self.own_scale.count_in(obs.flatten(1))
