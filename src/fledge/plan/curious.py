"""A world in which what is new pays: a planner that looks ahead in it goes where it may learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fledge.models.control.imagined import Imagined
from fledge.plan.rolling_out import Dynamics

# a state of the imagined world -> [M, R] or [1, R], how new it is
Novelty = Callable[[Any], Tensor]


class Curious:
    """The same world with `weight` times the novelty of where each step leads added to its
    reward.
    """

    def __init__(self, dynamics: Dynamics, novelty: Novelty, weight: float) -> None:
        self.dynamics, self.novelty, self.weight = dynamics, novelty, weight

    def begin(self, obs: Tensor, candidates: int) -> Any:
        return self.dynamics.begin(obs, candidates)

    def step(self, state: Any, action: Tensor, generator: torch.Generator) -> Imagined:
        after = self.dynamics.step(state, action, generator)
        bonus = self.weight * self.novelty(after.state)
        return after._replace(reward=after.reward + bonus)

    def observe(self, state: Any) -> Tensor:
        return self.dynamics.observe(state)
