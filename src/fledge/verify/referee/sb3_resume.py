"""A run of Stable-Baselines3's, or sb3-contrib's, is saved halfway, loaded by another learner and
carried on: are the weights those of a run that went through?
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from fledge.verify.referee.second_way import tell_apart
from fledge.verify.referee.small_world import STEPS, SmallWorld, read_weights

OFF_POLICY = {"learning_starts": 8, "train_freq": 4, "batch_size": 8, "buffer_size": STEPS}


def compare_saved(kind: Any, continuous: bool, **own: Any) -> str:
    """kind: a class of learners; own: arguments of it. What its replay buffer holds is saved beside
    it, as its documents say.  -> "same bits", or how far the weights lie apart beside how far they
    moved
    """

    def build() -> Any:
        return kind("MlpPolicy", SmallWorld(continuous), seed=0, device="cpu", **own)

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        before = read_weights(build().policy.parameters())
        through = read_weights(build().learn(STEPS).policy.parameters())
        first = build().learn(STEPS // 2)
        first.save(Path(folder) / "half")
        second = kind.load(Path(folder) / "half", env=SmallWorld(continuous), device="cpu")
        if hasattr(first, "save_replay_buffer"):
            first.save_replay_buffer(Path(folder) / "replay")
            second.load_replay_buffer(Path(folder) / "replay.pkl")
        second.learn(STEPS // 2, reset_num_timesteps=False)
        resumed = read_weights(second.policy.parameters())
    return tell_apart(before, through, resumed)
