"""The rows of text models hold, and a fault that is planted breaks one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.likelihood import routing_losses, smoothing, word_updates
from fledge.models.language import mixture
from fledge.verify.text_rows import text_rows


def test_every_row_holds() -> None:
    rows = text_rows()
    assert [row.id for row in rows] == ["L2.1", "L8", "L24.1", "L24.2"]
    assert all(row.holds for row in rows), [row.statement for row in rows]


def plant(wrong: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """-> the row that it breaks"""
    if wrong == "raw counts":  # in place of the different tokens before
        monkeypatch.setattr(
            smoothing,
            "adjust_counts",
            lambda counts: [counts.words, *(grams.counts for grams in counts.grams)],
        )
        return "L2.1"
    if wrong == "noise by frequency":
        of = word_updates.Noise.of.__func__  # pyright: ignore[reportFunctionMemberAccess]
        monkeypatch.setattr(
            word_updates.Noise,
            "of",
            classmethod(lambda kind, counts, exponent=1.0: of(kind, counts, exponent)),
        )
        return "L8"
    if wrong == "one noise word less":
        draw = word_updates.draw_noise
        fixed = 2  # the first of them says what the second does
        monkeypatch.setattr(
            word_updates,
            "draw_noise",
            lambda noise, keys, number: (
                np.full(len(keys), -1) if number == fixed else draw(noise, keys, number)
            ),
        )
        return "L8"
    if wrong == "balance of scores":
        monkeypatch.setattr(
            routing_losses,
            "balance_loss",
            lambda chosen, score: len(score) * (chosen * score * score / score.detach()).sum(),
        )
        return "L24.1"
    if wrong == "bias the other way":
        correct: Any = routing_losses.correct_bias
        monkeypatch.setattr(
            routing_losses, "correct_bias", lambda bias, load, rate: correct(bias, load, -rate)
        )
        return "L24.2"
    true = mixture.compute_scores
    monkeypatch.setattr(
        mixture, "compute_scores", lambda x, e: true(x, e) if not e.corrected else x.softmax(-1)
    )
    return "L24.2"


@pytest.mark.parametrize(
    "wrong",
    [
        "raw counts", "noise by frequency", "one noise word less", "balance of scores",
        "bias the other way", "scores that add up to one",
    ],
)  # fmt: skip
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    broken = plant(wrong, monkeypatch)
    assert {row.id for row in text_rows() if not row.holds} == {broken}
