"""Other minds: the rows hold, and faults are seen."""

from __future__ import annotations

import pytest

from fledge.plan.minds import knowledge, reward_inference
from fledge.verify import minds_rows as rows


def test_the_rows_hold() -> None:
    made = rows.minds_rows()
    expected = [f"R16.{n}" for n in range(1, 9)] + ["U10.1", "U10.2", "U9.1", "U9.2"]
    assert [row.id for row in made] == expected
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_somebody_who_sees_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = knowledge.Knowledge.look
    monkeypatch.setattr(
        knowledge.Knowledge, "look", lambda self, belief, seen: whole(self, belief, seen & False)
    )
    assert not rows.posterior_rows()[0].holds


def test_counts_of_a_model_that_stands_still_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reward_inference.discount
    monkeypatch.setattr(
        reward_inference, "discount", lambda visits, gamma: whole(visits[:, :1], gamma)
    )
    assert not rows.gradient_row().holds
