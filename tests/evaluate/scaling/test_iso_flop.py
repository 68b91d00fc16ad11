"""Parabolas of a law whose best sizes are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.evaluate.scaling.iso_flop import fit_iso_flop, group_budgets
from fledge.evaluate.scaling.law import Points
from tests.evaluate.scaling.laws import TRUE, loss_of

BUDGETS = (1e13, 1e14, 1e15, 1e16)


def make_budgets(noise: float = 0.0) -> Points:
    """Seven sizes about the best of each budget, in no order."""
    pairs = [
        (part * float(TRUE.best_parameters(budget)), budget)
        for budget in BUDGETS for part in np.geomspace(0.6, 1.7, 7)
    ]  # fmt: skip
    n, c = np.random.default_rng(0).permutation(pairs).T
    luck = np.random.default_rng(1).normal(size=len(n))
    return Points(n, c / 6 / n, loss_of(n, c / 6 / n) * np.exp(noise * luck))


def test_the_lowest_points_are_the_laws() -> None:
    """β / (α + β) = 0.33 / 0.68; a parabola is not quite the law's curve."""
    iso = fit_iso_flop(make_budgets())
    assert [each.flop for each in iso.parabolas] == pytest.approx(BUDGETS)
    for each in iso.parabolas:
        best = float(TRUE.best_parameters(each.flop))
        assert each.best_parameters == pytest.approx(best, rel=0.02)
        assert each.best_loss == pytest.approx(
            float(loss_of(np.array(best), np.array(each.flop / 6 / best))), rel=1e-3
        )
    assert iso.exponent is not None
    assert iso.exponent.value == pytest.approx(0.33 / 0.68, abs=0.003)
    assert iso.unseen == 0


def test_the_interval_holds_the_exponent_and_widens_with_noise() -> None:
    """One interval for 90 % misses in a tenth, as wide again to either side (4.9 σ) once in 10⁶."""
    quiet, loud = (fit_iso_flop(make_budgets(noise)).exponent for noise in (0.0005, 0.002))
    assert quiet is not None
    assert loud is not None
    assert abs(0.33 / 0.68 - (loud.low + loud.high) / 2) < 1.5 * (loud.high - loud.low)
    assert loud.high - loud.low > 1.5 * (quiet.high - quiet.low)


def test_a_budget_whose_best_size_was_not_tried_is_counted_and_not_drawn() -> None:
    points = make_budgets()
    last = np.isclose(points.flop, 1e16)
    n = np.geomspace(0.1, 0.4, 5) * float(TRUE.best_parameters(1e16))
    d = 1e16 / 6 / n
    kept = points.take(~last)
    both = Points(*(np.concatenate(pair) for pair in zip(
        (kept.parameters, kept.tokens, kept.loss), (n, d, loss_of(n, d)), strict=True
    )))  # fmt: skip
    iso = fit_iso_flop(both)
    assert iso.unseen == 1
    assert len(iso.parabolas) == 3


def test_runs_strung_out_evenly_are_no_budget() -> None:
    n, c = np.full(60, 1e6), np.geomspace(1e13, 1e15, 60)
    assert group_budgets(Points(n, c / 6 / n, np.ones(60))) == []
