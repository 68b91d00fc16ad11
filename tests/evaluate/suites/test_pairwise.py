"""Pairs judged in both orders: by scores, and by a model that is asked, whose favourite place is
nobody's win.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.evaluate.suites.pairwise import ask_model, compare_scores, judge_both_orders
from fledge.hub.folder import load_model
from tests.serve.models import make_model

PROMPTS = ["one", "two", "three", "four"]


def test_scores_know_no_order() -> None:
    prefer = compare_scores(lambda prompts, answers: [float(len(each)) for each in answers])
    won = judge_both_orders(prefer, PROMPTS, ["aa", "a", "aaa", "b"], ["b", "bb", "b", "c"])
    assert (won.wins, won.ties, won.losses) == (2, 1, 1)
    assert (won.first, won.swayed) == (0.5, 0.0)


def test_a_model_that_goes_by_the_place_wins_for_nobody() -> None:
    won = judge_both_orders(
        lambda prompts, first, second: [1.0] * len(prompts), PROMPTS, list("abcd"), list("efgh")
    )
    assert (won.rate, won.first, won.swayed) == (0.5, 1.0, 1.0)


def test_a_model_is_asked_in_both_orders(tmp_path: Path) -> None:
    model = load_model(make_model(tmp_path / "judge"))
    prefer = ask_model(model.policy(), model.tokenizer)
    ours, theirs = ["a cat", "a mat", "same", "x"], ["birds", "hills", "same ", "y"]
    one, other = prefer(PROMPTS, ours, theirs), prefer(PROMPTS, theirs, ours)
    assert one[2] == other[2] == 0.5
    won = judge_both_orders(prefer, PROMPTS, ours, theirs)
    pairs = zip(one, other, strict=True)
    assert won.rate == pytest.approx(sum((a + 1 - b) / 2 for a, b in pairs) / 4)
