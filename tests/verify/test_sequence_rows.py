"""The rows of sequences hold, and a fault that is planted breaks one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.algorithms.latent import baum_welch, kalman_em
from fledge.models.latent import hidden_markov, kalman
from fledge.verify.sequence_rows import sequence_rows


def test_every_row_holds() -> None:
    rows = sequence_rows()
    assert [row.id for row in rows] == ["G17.5", "G17.6", "G17.7"]
    assert all(row.holds for row in rows), [row.statement for row in rows]


@pytest.mark.parametrize("wrong", ["messages", "viterbi", "drawing", "smoother", "m-step"])
def test_a_fault_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "messages":  # what follows is the step itself, not the one after it
        true: Any = baum_welch.Messages.infer

        def infer(self: Any, *given: Any) -> Any:
            made = true(self, *given)
            return type(made)(made.state, made.pairs.T.copy(), made.log_p)

        monkeypatch.setattr(baum_welch.Messages, "infer", infer)
        broken = {"G17.5"}
    elif wrong == "viterbi":
        path = hidden_markov.find_likeliest_path
        monkeypatch.setattr(
            hidden_markov, "find_likeliest_path", lambda s, t, e: path(s, t.T.copy(), e)
        )
        broken = {"G17.6"}
    elif wrong == "drawing":  # the last state of the filter alone, step by step
        drawn = hidden_markov.draw_paths

        def draw_paths(start: Any, transition: Any, *rest: Any) -> Any:
            return drawn(start, np.ones_like(transition) / 2, *rest)

        monkeypatch.setattr(hidden_markov, "draw_paths", draw_paths)
        broken = {"G17.6"}
    elif wrong == "smoother":
        true = kalman.compute_gains

        def compute_gains(model: Any, times: int) -> Any:
            made = true(model, times)
            return kalman.Gains(
                made.predicted, made.filtered, made.gain, made.root, made.back.swapaxes(1, 2).copy()
            )

        monkeypatch.setattr(kalman, "compute_gains", compute_gains)
        broken = {"G17.7"}
    else:
        true = kalman_em.smooth_points

        def smooth_points(*given: Any) -> Any:
            made = true(*given)
            return type(made)(
                made.mean * 0.5, made.every, made.first, made.last, made.across, made.log_p
            )

        monkeypatch.setattr(kalman_em, "smooth_points", smooth_points)
        broken = {"G17.7"}
    assert {row.id for row in sequence_rows() if not row.holds} == broken
