"""Intervals, tests and power: against what defines them, all resamples, and their rates by
simulation.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import t as student

from fledge.evaluate.intervals import (
    bounded_interval,
    independent_questions_needed,
    mean_interval,
    paired_difference,
    questions_needed,
    share_interval,
    student_interval,
    student_quantile,
)


def test_a_share_lies_where_its_score_test_does_not_refuse_it() -> None:
    """The ends are where |p̂ − p| = z √(p (1 − p) / n), solved here by bisection."""
    z = 1.959963984540054
    for right, number in ((0, 10), (3, 10), (10, 10), (57, 100), (1, 1)):
        low, high = share_interval(right, number)
        seen = right / number
        for end, outside in ((low, 0.0), (high, 1.0)):
            a, b = seen, outside
            for _ in range(200):
                p = (a + b) / 2
                inside = abs(seen - p) <= z * math.sqrt(p * (1 - p) / number)
                a, b = (p, b) if inside else (a, p)
            assert end == pytest.approx(a, abs=1e-9)
    assert share_interval(0, 0) == (0.0, 1.0)


def test_win_rates_with_ties_are_covered_at_their_rate() -> None:
    """10,000 draws of 100 prompts at each of five shares of wins and ties. A coverage of 0.95 gives
    9,500 ± 22; discreteness may take one point and a half of it, so between 0.93 and 0.975:
    9 standard deviations below 0.95, a false alarm far below 1 in 10,000.
    """
    random = np.random.default_rng(7)
    number, draws = 100, 10_000
    for win, tie in ((0.5, 0.0), (0.3, 0.4), (0.6, 0.2), (0.85, 0.1), (0.4, 0.0)):
        shares = [1 - win - tie, tie, win]
        counts = random.multinomial(number, shares, size=draws)  # losses, ties, wins
        truth, inside = win + tie / 2, 0
        known: dict[tuple[int, ...], bool] = {}
        for row in map(tuple, counts.tolist()):
            if row not in known:
                values = [0.0] * row[0] + [0.5] * row[1] + [1.0] * row[2]
                low, high = bounded_interval(values)
                known[row] = low <= truth <= high
            inside += known[row]
        assert 0.93 <= inside / draws <= 0.975, (win, tie, inside / draws)


def test_ties_make_an_interval_narrower_and_yes_or_no_is_wilsons() -> None:
    assert bounded_interval([1.0] * 6 + [0.0] * 4) == pytest.approx(share_interval(6, 10))
    low, high = bounded_interval([1.0] * 5 + [0.5] * 90 + [0.0] * 5)
    a, b = share_interval(50, 100)
    assert high - low == pytest.approx((b - a) * math.sqrt(0.1), rel=0.02)  # s² is a tenth


def test_the_paired_bootstrap_is_that_of_all_resamples() -> None:
    """Of four questions all 4^4 resamples can be listed: the same shares, within the noise of
    10,000 draws (0.02 is four standard deviations of a share of ½).
    """
    first, second = [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.5, 1.0]
    gaps = np.array(second) - np.array(first)
    every = np.array([gaps[list(places)].mean() for places in product(range(4), repeat=4)])
    told = paired_difference(first, second)
    assert told.difference == pytest.approx(0.375)
    assert told.disagree == 0.5
    assert (told.low, told.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])))
    exact = np.mean(np.abs(every - 0.375) >= 0.375 - 1e-12)
    assert told.p == pytest.approx(exact, abs=0.02)


def test_models_that_are_alike_are_said_to_differ_at_the_tests_rate() -> None:
    """100 pairs of models of the same accuracy on 200 questions: p < 0.05 in 5 ± 2.2; more than 18
    is six standard deviations, a false alarm in a million.
    """
    random = np.random.default_rng(3)
    alarms = 0
    for seed in range(100):
        first, second = (random.random((2, 200)) < 0.6).astype(float)
        alarms += paired_difference(first.tolist(), second.tolist(), seed).p < 0.05
    assert alarms <= 18


def test_as_many_questions_as_are_said_give_the_power_that_is_said() -> None:
    """20,000 pairs of models that disagree on a fifth of the questions and are 4 points apart, each
    on so many: the paired z test sees it in 80 % (± 0.3 %; 2 points for the normal approximation).
    """
    number = questions_needed(0.04, 0.2)
    random = np.random.default_rng(1)
    ahead, behind = 0.12, 0.08
    counts = random.multinomial(number, [ahead, behind, 1 - ahead - behind], size=20_000)
    gap = (counts[:, 0] - counts[:, 1]) / number
    spread = np.sqrt(((counts[:, 0] + counts[:, 1]) / number - gap**2) / number)
    assert np.mean(np.abs(gap) > 1.96 * spread) == pytest.approx(0.8, abs=0.02)
    # of independent questions by the textbook: p = 0.5, q = 0.6, 385 each (Fleiss 1981 without
    # the correction)
    assert independent_questions_needed(0.1, 0.5) == 385


def test_a_mean_of_values_is_covered() -> None:
    low, high = mean_interval([0.2] * 50)
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.2))
    random = np.random.default_rng(2)
    inside = 0
    for seed in range(300):  # 285 ± 3.8 at a rate of 0.95; the percentile is a little short
        low, high = mean_interval(random.random(60).tolist(), seed)
        inside += low <= 0.5 <= high
    assert inside >= 262


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30])
def test_students_quantile_is_scipys(freedom: int) -> None:
    for share in (0.6, 0.95, 0.975, 0.999):
        exact = float(student.ppf(share, freedom))
        assert student_quantile(share, freedom) == pytest.approx(exact, rel=1e-9)


def test_a_mean_over_five_runs_is_covered() -> None:
    """2,000 draws of five: 95 % give 100 ± 10 misses; the bootstrap's have some 320."""
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(2000):
        low, high = student_interval(random.normal(1.0, 2.0, 5).tolist())
        missed += not low <= 1 <= high
    assert 60 < missed < 140


def test_what_is_no_question_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot come of"):
        questions_needed(0.3, 0.2)
    with pytest.raises(ValueError, match="give as many"):
        paired_difference([1.0], [1.0, 0.0])
