"""Reward models and distillation: the rows hold in both precisions, and another divergence or
margin does not.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fledge.divergence import forward_kl, jensen_shannon, reverse_kl
from fledge.verify import lesson_rows as rows
from fledge.verify.laboratory import Hardware


def test_the_rows_hold_in_both_precisions() -> None:
    for dtype in (torch.float64, torch.float32):
        made = rows.lesson_rows(Hardware("cpu", dtype))
        assert [row.id for row in made] == ["L1", "U10.3", "L2", "L3"]
        assert all(row.holds for row in made), [row for row in made if not row.holds]


@pytest.mark.parametrize(
    ("kind", "beta"),
    [(forward_kl, 0.0), (partial(jensen_shannon, beta=0.7), 0.3), (reverse_kl, 0.3)],
)
def test_another_divergence_does_not_hold(kind: object, beta: float) -> None:
    row = rows.distillation_row(
        "L",
        "it",
        kind,  # pyright: ignore[reportArgumentType]
        beta,
        Hardware(),
    )
    assert not row.holds


def test_a_reward_model_without_its_margin_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows.RewardModelling
    monkeypatch.setattr(rows, "RewardModelling", lambda *parts, margin: made(*parts))
    assert not rows.reward_model_row(Hardware()).holds


def test_a_score_that_is_asked_for_a_margin_is_no_log_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rows.RewardModelling
    monkeypatch.setattr(rows, "RewardModelling", lambda *parts: made(*parts, margin=0.1))
    assert not rows.demonstrations_row(Hardware()).holds
