"""The credit for a near answer, and draws that depend on a key alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fledge.tasks.examples import Answered, Example, draw_integer, prefix_credit

words = st.text("abc", min_size=2, max_size=8)


def test_credit_worked_by_hand():
    # answer of 6 characters: k right ones in front earn (k − 1) / 5, each character too many costs
    # 1 / 5
    assert prefix_credit("tenalp", "tenalp") == 1.0
    assert prefix_credit("tenalp", "tenalx") == pytest.approx(4 / 5)
    assert prefix_credit("tenalp", "tena") == pytest.approx(3 / 5)
    assert prefix_credit("tenalp", "tenalpp") == pytest.approx(4 / 5)
    assert prefix_credit("tenalp", "tenalp" + "p" * 9) == 0.0
    assert prefix_credit("tenalp", "t") == 0.0
    assert prefix_credit("tenalp", "") == 0.0
    assert prefix_credit("t", "t") == 1.0
    assert prefix_credit("t", "te") == 0.0


@given(st.text("ab ", max_size=6), st.text("ab ", max_size=9))
def test_credit_is_one_for_the_answer_and_for_nothing_else(answer, completion):
    credit = prefix_credit(answer, completion)
    assert 0.0 <= credit <= 1.0
    assert (credit == 1.0) == (answer.strip() == completion.strip())


@given(words, st.data())
def test_one_more_right_character_never_earns_less(answer, data):
    n = data.draw(st.integers(0, len(answer) - 1))
    assert prefix_credit(answer, answer[:n]) <= prefix_credit(answer, answer[: n + 1])


@given(words, st.integers(1, 12))
def test_a_character_too_many_never_pays(answer, extra):
    assert prefix_credit(answer, answer + "x" * extra) <= prefix_credit(
        answer, answer + "x" * (extra - 1)
    )


def test_exact_forgives_blanks_at_the_ends_and_nothing_else():
    judge, example = Answered(), Example("upper: ab c", "AB C", "upper")
    replies = ["AB C", " AB C\n", "AB  C", "ABC", "ab C", "AB C.", "“AB C”"]
    assert [v.right for v in judge.judge([example] * 7, replies)] == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]


def test_an_answered_task_cannot_score_without_an_answer():
    with pytest.raises(ValueError, match="without an answer"):
        Answered().judge([Example("p", None, "reverse")], ["x"])


def test_examples_and_completions_must_pair_up():
    with pytest.raises(ValueError, match="zip"):
        Answered().judge([Example("p", "a", "reverse")], [])


def test_draws_are_uniform_and_depend_on_the_key_only():
    # 26,000 draws modulo 26: chi-square with 25 degrees of freedom exceeds 66 with probability
    # 1.5e-5
    counts = [0] * 26
    for i in range(26_000):
        counts[draw_integer(f"key {i}", 5) % 26] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 66
    assert draw_integer("key", 500) == draw_integer("key", 500) != draw_integer("other key", 500)
