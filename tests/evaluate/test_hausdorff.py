"""The modified Hausdorff distance by its definition, point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fledge.evaluate.hausdorff import compare_hausdorff, list_ink, measure_hausdorff


def by_definition(one: list[list[float]], other: list[list[float]]) -> float:
    """Dubuisson & Jain (1994): the larger of the two mean distances to the nearest point."""
    there = sum(min(math.dist(a, b) for b in other) for a in one) / len(one)
    back = sum(min(math.dist(b, a) for a in one) for b in other) / len(other)
    return max(there, back)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_its_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(size=(7, 2)) * 9, random.normal(size=(11, 2)) * 4
    expected = by_definition(one.tolist(), other.tolist())
    assert measure_hausdorff(one, other) == pytest.approx(expected, rel=1e-9)
    assert measure_hausdorff(other, one) == pytest.approx(expected, rel=1e-9)


def test_a_drawing_is_nearest_itself_wherever_it_stands() -> None:
    known = np.zeros((3, 30, 30), bool)
    known[0, 5, 5:15] = known[1, 5:15, 5] = True
    known[2, np.arange(5, 15), np.arange(5, 15)] = True
    asked = np.roll(known, (9, 7), (1, 2))
    apart = compare_hausdorff(known, asked)
    assert apart.argmin(0).tolist() == [0, 1, 2]
    assert np.diag(apart) == pytest.approx([0, 0, 0], abs=1e-6)
    assert list_ink(known[0]).mean(0) == pytest.approx([0, 0])
