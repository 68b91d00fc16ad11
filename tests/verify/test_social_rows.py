"""Relationships and moral weights: faults are seen. That the rows hold is in test_minds_rows.py."""

from __future__ import annotations

import pytest
import torch

from fledge.plan.minds import social_plan, welfare
from fledge.verify import social_rows as rows


def test_a_goal_that_pays_half_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = social_plan.Pair.pay
    monkeypatch.setattr(social_plan.Pair, "pay", lambda self, goals: whole(self, goals) * 0.5)
    assert not rows.social_row().holds


def test_weights_that_are_not_weighed_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = welfare.say_log_choice
    monkeypatch.setattr(
        welfare, "say_log_choice",
        lambda good, weight, beta: whole(good, torch.ones_like(weight), beta),
    )  # fmt: skip
    assert not rows.welfare_row().holds
