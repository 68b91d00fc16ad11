"""Searches over tokens: the rows hold, and a search that gives up early or teaches something else
is seen.
"""

from __future__ import annotations

import pytest

from fledge.verify import token_search_rows as rows


def test_the_rows_hold() -> None:
    made = rows.token_search_rows()
    assert [row.id for row in made] == ["TS1", "TS2", "TS3"]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_a_search_that_looks_too_little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SearchPlan", lambda n, *more: rows_plan(3, *more))
    assert not rows.best_first_row("TS1", False).holds


def rows_plan(simulations: int, *more: float):
    from fledge.sample.token_search import SearchPlan

    return SearchPlan(simulations, *more)  # pyright: ignore[reportArgumentType]


def test_a_target_at_another_temperature_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows.weigh_by_worth
    monkeypatch.setattr(rows, "weigh_by_worth", lambda tree, beta: whole(tree, 1.1 * beta))
    assert not rows.soft_target_row().holds
