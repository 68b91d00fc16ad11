"""The cost of walks beside a ditch, against closed forms, every way of erring, and matrices; the
exponents follow.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from fledge.verify.compounding_error import cloning_cost, cost, dagger_cost, growth, imitation_rows


def by_every_way_of_erring(on_road: float, in_ditch: float, steps: int) -> float:
    """All 2^T sequences of errors, each with its probability and the steps in the ditch that it
    leads to.
    """
    whole = 0.0
    for errors in product((False, True), repeat=steps):
        away, chance, spent = False, 1.0, 0
        for error in errors:
            p = in_ditch if away else on_road
            chance *= p if error else 1 - p
            # an error leads into the ditch or keeps there; without one the walker is on the road
            away = error
            spent += away
        whole += chance * spent
    return whole


@pytest.mark.parametrize(
    ("on_road", "in_ditch"), [(0.1, 1.0), (0.1, 0.1), (0.3, 0.8), (0.0, 1.0), (1.0, 0.0)]
)
def test_the_cost_is_the_sum_over_every_way_of_erring(on_road: float, in_ditch: float) -> None:
    expected = [by_every_way_of_erring(on_road, in_ditch, steps) for steps in range(1, 11)]
    np.testing.assert_allclose(cost(on_road, in_ditch, 10), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("error", [1e-6, 1e-3, 0.2])
def test_cloning_and_dagger_have_closed_forms(error: float) -> None:
    steps = np.arange(1, 201)
    told = dagger_cost(error, 200)
    np.testing.assert_allclose(told, steps * error, rtol=1e-9)
    stays = (1 - error) ** np.arange(1, 201)  # on the road still, after so many steps
    np.testing.assert_allclose(cloning_cost(error, 200), np.cumsum(1 - stays), rtol=1e-9)
    if error > 1e-6:  # where the closed form does not cancel
        closed = steps - (1 - error) * (1 - (1 - error) ** steps) / error
        np.testing.assert_allclose(cloning_cost(error, 200), closed, rtol=1e-6)
    assert bool(
        (cloning_cost(error, 200) <= torch.from_numpy(steps**2 * error) * (1 + 1e-12)).all()
    )


def test_the_exponents_are_two_and_one() -> None:
    """Independently: log₂ of what twice as long a walk costs, from the powers of a two-state
    matrix.
    """

    def spent(on_road: float, in_ditch: float, steps: int) -> float:
        matrix = np.array([[1 - on_road, on_road], [1 - in_ditch, in_ditch]])
        return sum(np.linalg.matrix_power(matrix, t)[0, 1] for t in range(1, steps + 1))

    error = 1e-6
    assert np.log2(spent(error, 1.0, 400) / spent(error, 1.0, 200)) == pytest.approx(2, abs=0.01)
    assert np.log2(spent(error, error, 400) / spent(error, error, 200)) == pytest.approx(
        1, abs=1e-6
    )
    assert growth(cloning_cost(error, 400), 100) == pytest.approx(2, abs=0.01)
    assert growth(dagger_cost(error, 400), 100) == pytest.approx(1, abs=1e-6)
    # Once the walker is in the ditch for certain, more steps cost only themselves.
    assert growth(cloning_cost(0.5, 4000), 2000) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
def test_growth_finds_the_exponent_of_a_power(exponent: float) -> None:
    assert growth(7 * torch.arange(1, 50, dtype=torch.float64) ** exponent, 10) == pytest.approx(
        exponent
    )


def test_the_rows_hold_and_break_where_errors_are_too_many_for_the_law() -> None:
    assert all(row.holds for row in imitation_rows())
    squared, straight, bounds = imitation_rows(error=0.1)
    assert not squared.holds
    assert straight.holds
    assert bounds.holds
    assert len(squared.curves[0].lines["cloning"][0]) == 300
