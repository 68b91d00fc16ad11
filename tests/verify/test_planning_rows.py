"""The rows of learned worlds and planning hold, and fail where what they measure is one fault
away.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.parts.action_table import Writing
from fledge.algorithms.parts.counted_table import CountedTable
from fledge.algorithms.value import imagined_value
from fledge.models.control.counted_world import CountedWorld, Prior
from fledge.plan import rolling_out
from fledge.verify import planning_rows as rows


def test_the_rows_hold() -> None:
    made = rows.planning_rows()
    assert [row.id for row in made] == [f"R13.{n}" for n in range(1, 10)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_a_backup_that_forgets_the_discount_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    backup = CountedTable.backup

    def off(self: CountedTable, writing: Writing, pair: int) -> float:
        moved = backup(self, writing, pair)
        writing.q[pair] *= 1 + 1e-5
        return moved

    monkeypatch.setattr(CountedTable, "backup", off)
    assert not any(row.holds for row in rows.counted_rows())


def test_a_prior_that_is_counted_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = CountedWorld._pseudo_counts
    twice: Any = lambda self, prior: counts(self, Prior(chances=2 * prior.chances))  # noqa: E731
    monkeypatch.setattr(CountedWorld, "_pseudo_counts", twice)
    assert not rows.posterior_row().holds


def test_a_worth_that_is_not_discounted_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def undiscounted(dynamics: Any, obs: Tensor, sequences: Tensor, *given: Any) -> Tensor:
        return rolling_out.roll_out(dynamics, obs, sequences, 1.0, given[1])

    monkeypatch.setattr(rows, "roll_out", undiscounted)
    assert not rows.worth_row().holds


def test_a_world_that_moves_otherwise_is_controlled_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        rows, "riccati", lambda A, B, Q, R, F, n: (torch.zeros(1, 2).double(), torch.zeros(2, 2))
    )
    assert not any(row.holds for row in rows.linear_rows())


def test_the_worst_action_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "roll_out", lambda *given: -rolling_out.roll_out(*given))
    assert not rows.true_world_row().holds


def test_a_value_of_the_mean_sequence_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def weigh_alike(*given: Any) -> Tensor:
        return rolling_out.roll_out(*given).mean(1, keepdim=True)

    monkeypatch.setattr(imagined_value, "weigh_sequences", weigh_alike)
    assert not rows.imagined_value_row().holds
