"""Calibration of a model whose probabilities are known: right as often as it says, or by how much
not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fledge.evaluate.calibration import measure_calibration


def draw(number: int, say: float = 1.0) -> tuple[list[list[float]], list[int]]:
    """Questions with three choices whose right one is drawn from the probabilities; what is said
    are these, sharpened by the power `say`.
    """
    random = np.random.default_rng(5)
    truth = random.dirichlet([1.0] * 3, size=number)
    right = [int(random.choice(3, p=row)) for row in truth]
    said = truth**say / (truth**say).sum(1, keepdims=True)
    return said.tolist(), right


def test_one_that_says_the_truth_has_no_more_error_than_chance_gives() -> None:
    told = measure_calibration(*draw(5_000))
    # the accuracy's standard deviation is 0.007: four of them
    assert told.error <= 2.5 * told.by_chance
    assert told.confidence == pytest.approx(told.accuracy, abs=0.028)
    for one in told.bins:
        if one.number > 100:  # four standard deviations of the bin's share
            spread = math.sqrt(one.confidence * (1 - one.confidence) / one.number)
            assert abs(one.accuracy - one.confidence) <= 4 * spread + 0.01


def test_one_that_is_too_sure_is_told_from_it() -> None:
    told = measure_calibration(*draw(5_000, say=3.0))
    assert told.error > 10 * told.by_chance
    assert told.confidence - told.accuracy > 0.1


def test_scores_are_the_closed_forms() -> None:
    told = measure_calibration([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], bins=5)
    assert told.accuracy == pytest.approx(2 / 3)
    assert told.confidence == pytest.approx((0.7 + 0.8 + 0.6) / 3)
    assert told.brier == pytest.approx((2 * 0.3**2 + 2 * 0.2**2 + 2 * 0.6**2) / 3)
    assert told.nats == pytest.approx(-(math.log(0.7) + math.log(0.8) + math.log(0.4)) / 3)
    # bins of 0.2: 0.7 and 0.6 together (one of two right), 0.8 alone
    assert told.error == pytest.approx((abs(1 - 1.3) + abs(1 - 0.8)) / 3)
    assert sum(one.number for one in told.bins) == 3


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="give as many"):
        measure_calibration([[1.0]], [])
