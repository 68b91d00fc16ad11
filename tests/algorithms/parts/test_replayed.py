"""A batch pays for so many optimizer steps, none before learning starts, and what they said is
averaged over those that said it.
"""

from __future__ import annotations

import pytest
import torch

from fledge.algorithms.parts.replayed import MemorySettings, Replayed
from fledge.sample.replay import Replay
from fledge.trajectories import Trajectories
from tests.subjects import seeded


def batch(chosen: int) -> Trajectories:
    """Six steps, of which so many were chosen."""
    no = torch.zeros(1, 6, dtype=torch.bool)
    return Trajectories(
        torch.zeros(1, 7),
        torch.zeros(1, 6),
        torch.arange(6)[None] < chosen,
        torch.zeros(1, 6),
        no,
        no,
    )


def steps(updates_per_step: int = 4, learning_starts: int = 0) -> Replayed:
    settings = MemorySettings(updates_per_step=updates_per_step, learning_starts=learning_starts)
    return Replayed(Replay(100, generator=seeded(0)), settings)


def test_figures_are_means_over_the_steps_that_said_them() -> None:
    said = iter([{"a": 1.0}, {"a": 2.0, "b": 10.0}, {"a": 3.0}, {"a": 6.0, "b": 30.0}])
    owed, calls = steps(), []
    owed.begin(batch(5))
    assert owed.batch is not None
    figures = owed.run(lambda: next(said), lambda: calls.append(owed.made))
    assert figures == {"updates": 4, "remembered": 5, "a": 3.0, "b": 20.0}
    assert calls == [1, 2, 3, 4]
    assert owed.batch is None


def test_nothing_is_owed_before_learning_starts_nor_from_an_empty_memory() -> None:
    owed = steps(2, learning_starts=7)
    for chosen, updates in ((4, 0), (2, 0), (1, 2)):
        owed.begin(batch(chosen))
        assert owed.run(dict, lambda: None)["updates"] == updates
    empty = steps(2)
    empty.begin(batch(0))
    assert empty.run(dict, lambda: None) == {"updates": 0, "remembered": 0}


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="updates_per_step"):
        steps(0)
