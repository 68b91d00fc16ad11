"""DQN and tables: the rows hold, and fail where what they measure is one fault away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.sample.replay import Transitions
from fledge.verify import value_rows as rows


def test_the_rows_hold() -> None:
    made = rows.value_rows()
    assert [row.id for row in made] == [f"Q{n}" for n in range(1, 5)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


class EndsNothing(rows.DQN):
    def target(self, rows: Transitions) -> Tensor:
        return super().target(
            rows.__class__(**dict(rows.items()) | {"terminated": torch.zeros_like(rows.terminated)})
        )


@pytest.mark.parametrize(
    ("name", "broken", "ask", "number"),
    [
        ("DQN", EndsNothing, lambda: list(rows.dqn_rows()), 0),
        ("DQN", EndsNothing, lambda: list(rows.dqn_rows()), 1),
        ("Q_LEARNING", rows.EXPECTED_SARSA, lambda: [rows.tabular_row()], 0),
    ],
)
def test_a_row_fails_where_what_it_measures_is_broken(
    name: str, broken: Any, ask: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, name, broken)
    assert not ask()[number].holds
