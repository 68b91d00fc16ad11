"""Iso-FLOP parabolas: of each budget the size of the least loss, and how that size grows with the
budget (Hoffmann et al. 2022, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.evaluate.scaling.bootstrap import Interval
from fledge.evaluate.scaling.law import Array, Points

APART = 0.08  # of log C: further apart two runs are of two budgets
WIDEST = 0.3
LEAST_RUNS = 4  # a parabola has three numbers
RESAMPLES = 1000


@dataclass(frozen=True)
class Parabola:
    """Loss against log N at one budget. coefficients: of (log N)², log N and 1."""

    flop: float
    points: Points
    coefficients: Array

    @property
    def best_parameters(self) -> float:
        """Where it is lowest."""
        return float(np.exp(-self.coefficients[1] / (2 * self.coefficients[0])))

    @property
    def best_loss(self) -> float:
        return float(np.polyval(self.coefficients, np.log(self.best_parameters)))


@dataclass(frozen=True)
class IsoFlop:
    """exponent: a of N* ∝ C^a over the parabolas; None for fewer than two of them. unseen: how many
    budgets have no lowest point within their sizes.
    """

    parabolas: list[Parabola]
    exponent: Interval | None
    unseen: int


def fit_iso_flop(points: Points, *, share: float = 0.9, seed: int = 0) -> IsoFlop:
    """Of each budget with four sizes or more, where its lowest point lies between them. The
    interval: losses drawn anew around the parabolas, normal, with the spread that all parabolas
    together leave.
    """
    parabolas, unseen = list[Parabola](), 0
    for group in group_budgets(points):
        if len(np.unique(group.parameters)) < LEAST_RUNS:
            continue
        parabola = _fit_parabola(group)
        inside = parabola.coefficients[0] > 0 and (
            group.parameters.min() < parabola.best_parameters < group.parameters.max()
        )
        unseen += not inside
        if inside:
            parabolas.append(parabola)
    if len(parabolas) < 2:
        return IsoFlop(parabolas, None, unseen)
    budgets = np.log([each.flop for each in parabolas])
    value = _slope(budgets, np.log([[each.best_parameters for each in parabolas]]))[0]
    samples = _slope(budgets, _draw_minima(parabolas, np.random.default_rng(seed)))
    low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2])
    return IsoFlop(parabolas, Interval(float(value), float(low), float(high)), unseen)


def group_budgets(points: Points) -> list[Points]:
    """Runs of one budget each, by gaps in log C; what is strung out evenly is no budget."""
    order = np.argsort(points.flop, kind="stable")
    log_flop = np.log(points.flop[order])
    borders = np.flatnonzero(np.diff(log_flop) > APART) + 1
    groups = [points.take(part) for part in np.split(order, borders)]
    return [each for each in groups if np.ptp(np.log(each.flop)) <= WIDEST]


def _fit_parabola(group: Points) -> Parabola:
    coefficients = np.polyfit(np.log(group.parameters), group.loss, 2)
    return Parabola(float(np.exp(np.log(group.flop).mean())), group, coefficients)


def _draw_minima(parabolas: list[Parabola], random: np.random.Generator) -> Array:
    """log N* of redrawn losses; NaN where a parabola opens downwards.  [S, parabolas]"""
    fitted = [
        (np.log(each.points.parameters), each.points.loss, each.coefficients) for each in parabolas
    ]
    squares = sum(float(((loss - np.polyval(c, x)) ** 2).sum()) for x, loss, c in fitted)
    left = sum(len(x) - 3 for x, _, _ in fitted)
    spread = np.sqrt(squares / random.chisquare(left, size=(1, RESAMPLES)))
    minima = []
    for x, _, c in fitted:
        drawn = np.polyval(c, x)[:, None] + spread * random.standard_normal((len(x), RESAMPLES))
        a, b, _ = np.polyfit(x, drawn, 2)
        minima.append(np.where(a > 0, -b / (2 * np.where(a > 0, a, 1.0)), np.nan))
    return np.stack(minima, 1)


def _slope(x: Array, y: Array) -> Array:
    """Of a straight line through each row.  [k], [S, k] -> [S]"""
    centred = x - x.mean()
    return (y * centred).sum(1) / (centred**2).sum()
