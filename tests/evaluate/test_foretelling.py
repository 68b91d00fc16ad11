"""What is said of a recurrent world's foresight, beside one that is wrong by what is known; an
ensemble's is in tests/models/control/test_world_ensemble.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.evaluate.foretelling import AWAKE, measure_imagining
from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices, Space
from tests.subjects import seeded

NUMBERS: Space = Box(torch.full((1,), -torch.inf), torch.full((1,), torch.inf))


def walk(episodes: int, steps: int, seed: int = 0) -> Trajectories:
    """x′ = x + 1 or x − 1, as the action says; the last episode ends half-way."""
    action = torch.randint(2, (episodes, steps), generator=seeded(seed))
    moves = 2.0 * action - 1
    start = torch.randn(episodes, 1, generator=seeded(seed + 1))
    obs = torch.cat([start, start + moves.cumsum(1)], 1)[..., None]
    chosen = torch.ones(episodes, steps, dtype=torch.bool)
    chosen[-1, steps // 2 :] = False
    no = torch.zeros_like(chosen)
    return Trajectories(obs, action, chosen, torch.zeros(episodes, steps), no, no)


class Walker(RecurrentWorld):
    """Knows the walk, but that it thinks each step `drift` longer. Its state is what it sees."""

    def __init__(self, drift: float) -> None:
        super().__init__(NUMBERS, Choices((2,)), generator=seeded(0), deterministic=1, stochastic=1)
        self.drift, self.out = drift, torch.nn.Identity()

    def begin(self, rows: int) -> Tensor:
        return torch.full((rows, 1), torch.nan)  # nothing that was not seen may count

    def encode(self, obs: Tensor) -> Tensor:
        return obs

    def observe(self, state: Tensor, done: Tensor, code: Tensor, noise: Tensor) -> Any:
        return code, None, None

    def imagine(self, state: Tensor, done: Tensor, noise: Tensor) -> Tensor:
        return state + done[:, 1:] - done[:, :1] + self.drift


@pytest.mark.parametrize("drift", [0.0, 0.3])
def test_a_drift_adds_up_over_what_is_imagined(drift: float) -> None:
    """Off by h · drift after h steps; what does not move is off by how far the walk has come."""
    rows = walk(6, 16)
    said = measure_imagining(Walker(drift), rows, horizon=4)
    obs, chosen = rows.obs[..., 0], rows.chosen
    mine = obs[:, :-1][chosen]
    spread = float((mine - mine.mean()).square().mean().sqrt())
    assert said["steps"] == [1, 2, 3, 4]
    assert said["error"] == pytest.approx([h * drift / spread for h in said["steps"]], abs=1e-5)
    for h in said["steps"]:
        gone = [
            float((obs[n, b + h] - obs[n, b]) ** 2)
            for b in range(AWAKE - 1, 16 - 4 + 1, 4)
            for n in range(6)
            if chosen[n, b + h - 1]
        ]
        expected = (sum(gone) / len(gone)) ** 0.5 / spread
        assert said["copied"][h - 1] == pytest.approx(expected, rel=1e-5)


def test_episodes_shorter_than_the_horizon_are_asked_to_their_end() -> None:
    said = measure_imagining(Walker(0.1), walk(3, 3), horizon=30)
    assert said["steps"] == [1]
    assert said["asked"] == 2  # the third episode has ended by then
