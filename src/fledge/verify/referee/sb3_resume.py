"""A run of Stable-Baselines3's, or sb3-contrib's, is saved halfway, loaded by another learner and
carried on: are the weights those of a run that went through?
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import torch
from torch import Tensor

from fledge.verify.referee.second_way import tell_apart
from fledge.verify.referee.world_question import ACTIONS, STATES, random_world

STEPS = 64  # of the run that goes through; the other is saved after half of them

OFF_POLICY = {"learning_starts": 8, "train_freq": 4, "batch_size": 8, "buffer_size": STEPS}


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


def compare_saved(kind: Any, continuous: bool, **own: Any) -> str:
    """kind: a class of learners; own: arguments of it. What its replay buffer holds is saved beside
    it, as its documents say.  -> "same bits", or how far the weights lie apart beside how far they
    moved
    """

    def build() -> Any:
        return kind("MlpPolicy", SmallWorld(continuous), seed=0, device="cpu", **own)

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        before = _read(build())
        through = _read(build().learn(STEPS))
        first = build().learn(STEPS // 2)
        first.save(Path(folder) / "half")
        second = kind.load(Path(folder) / "half", env=SmallWorld(continuous), device="cpu")
        if hasattr(first, "save_replay_buffer"):
            first.save_replay_buffer(Path(folder) / "replay")
            second.load_replay_buffer(Path(folder) / "replay.pkl")
        resumed = _read(second.learn(STEPS // 2, reset_num_timesteps=False))
    return tell_apart(before, through, resumed)


def _read(learner: Any) -> Tensor:
    parts = [each.detach().double().flatten() for each in learner.policy.parameters()]
    return torch.cat(parts).clone()
