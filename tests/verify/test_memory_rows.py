"""Replay: the rows hold, and fail for a memory that is one fault away."""

from __future__ import annotations

from typing import Any

import pytest

from fledge.sample.replay import Replay, Transitions
from fledge.verify import memory_rows as rows


def test_the_rows_hold() -> None:
    made = rows.memory_rows()
    assert [row.id for row in made] == ["M1", "M2", "M3"]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


class OneLess(Replay):
    def draw(self, rows: int, gamma: float, n_step: int = 1, **named: Any) -> Transitions:
        return super().draw(rows, gamma, max(1, n_step - 1), **named)


class EvenWeights(Replay):
    def draw(self, rows: int, gamma: float, n_step: int = 1, **named: Any) -> Transitions:
        drawn = super().draw(rows, gamma, n_step, **named)
        return drawn.replace(weight=drawn.weight * 0 + 1)


@pytest.mark.parametrize(
    ("broken", "ask"),
    [(OneLess, lambda: rows.returns_row("M", 3)), (EvenWeights, rows.surprise_row)],
)
def test_a_row_fails_where_what_it_measures_is_broken(
    broken: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "Replay", broken)
    assert not ask().holds
