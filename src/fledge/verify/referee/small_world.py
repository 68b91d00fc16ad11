"""The world in which agents are saved and loaded, and the weights that come of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import torch
from torch import Tensor

from fledge.verify.referee.world_question import ACTIONS, STATES, random_world

STEPS = 64  # of the run that goes through; the other is saved after half of them


class SmallWorld(gymnasium.Env[Any, Any]):
    """The world that everyone is asked about, with actions of one kind or the other."""

    observation_space = gymnasium.spaces.Discrete(STATES)

    def __init__(self, continuous: bool) -> None:
        self.world, _ = random_world(0.99)
        box, discrete = gymnasium.spaces.Box(-1.0, 1.0, (1,)), gymnasium.spaces.Discrete(ACTIONS)
        self.action_space: Any = box if continuous else discrete
        self.continuous, self.state, self.at = continuous, 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        self.state = int(self.np_random.choice(STATES, p=self.world.start.numpy()))
        return self.state, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        done = int(action[0] > 0) if self.continuous else int(action)
        reward = float(self.world.reward[self.state, done])
        law = self.world.transition[done, self.state].numpy()
        self.state, self.at = int(self.np_random.choice(STATES, p=law)), self.at + 1
        return self.state, reward, self.at == self.world.horizon, False, {}


def read_weights(parameters: Iterable[Tensor]) -> Tensor:
    """[n] float64"""
    return torch.cat([each.detach().double().flatten() for each in parameters]).clone()
