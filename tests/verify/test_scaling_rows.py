"""Scaling laws: the rows hold, and faults are seen."""

from __future__ import annotations

import pytest

from fledge.evaluate.scaling import law as of_law
from fledge.evaluate.scaling import repeats, saturation
from fledge.verify import scaling_rows as rows


def test_the_rows_hold() -> None:
    made = rows.scaling_rows()
    assert [row.id for row in made] == [f"L12.{n}" for n in range(1, 5)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_runs_of_another_law_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows.make_runs

    def bend(law: of_law.Law) -> of_law.Points:
        points = whole(law)
        points.loss[3] *= 1.003
        return points

    monkeypatch.setattr(rows, "make_runs", bend)
    assert not rows.fit_row().holds


def test_serving_that_is_not_paid_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_law, "SERVING_FLOP", 1)
    assert not rows.budget_row().holds


def test_repeats_counted_from_one_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = repeats._fade
    monkeypatch.setattr(
        repeats, "_fade", lambda all, unique, constant: whole(all + unique, unique, constant)
    )
    assert not rows.repeats_row().holds


def test_a_rise_that_falls_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = saturation._rise
    monkeypatch.setattr(saturation, "_rise", lambda c, middle, power: 1 - whole(c, middle, power))
    assert not rows.reward_row().holds
