"""Whether a law of smaller runs held for larger ones within the sweep itself: each of the largest
sizes is left out with all beyond it, and foretold from the rest.

A bootstrap knows the luck of runs, and not that a law is only nearly true. What is foretold of a
run that is larger still is as uncertain as these were wrong: by the root of their mean square, or,
if that is more, by their size in units of one run's luck. For the latter let e be log L over what
the law of the smaller runs says of the m runs of a size, and V = I + X₁ (XᵀX)⁻¹ X₁ᵀ, X and X₁ the
law's slopes in its parameters at the smaller runs and at these: were the law true, Σ eᵀV⁻¹e / Σ m
would be the variance of one run's luck, whichever sizes it is of (the recursive residuals of Brown,
Durbin & Evans 1975, in blocks). Runs of one size are foretold from one fit and err together, and
neighbouring sizes err alike: Student's t has one degree of freedom fewer than there are sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fledge.evaluate.intervals import student_quantile
from fledge.evaluate.scaling.fitting import LEAST_POINTS, LEAST_SIZES, Fit, fit_again
from fledge.evaluate.scaling.law import Array, Law, Points

MOST_SIZES = 4
APART = 0.05  # of log N: nearer, two runs are of one size


@dataclass(frozen=True)
class Backtest:
    """parameters: of each size that was left out, the largest first. error: of its runs, log of
    what came over what was foretold, the root of the mean square. spread: of log L of one run, as
    the standardised errors have it.
    """

    parameters: tuple[float, ...]
    error: tuple[float, ...]
    spread: float

    def reach(
        self, law: Law, points: Points, parameters: float, tokens: float, share: float
    ) -> float:
        """Half of the interval of log L of a run that the law of all points foretells."""
        slopes = law.slope(points.parameters, points.tokens)
        there = law.slope(np.array([parameters]), np.array([tokens]))
        lucky = self.spread * math.sqrt(float(_spread_out(slopes, there)[0, 0]))
        wrong = float(np.sqrt(np.square(self.error).mean()))
        freedom = max(1, len(self.error) - 1)
        return student_quantile((1 + share) / 2, freedom) * max(lucky, wrong)


def backtest(fit: Fit) -> Backtest | None:
    """fit: to all runs. None where the rest without the largest size tells no law."""
    points = fit.points
    below = [points.parameters < least * (1 - 1e-12) for least in _list_borders(points.parameters)]
    below = [rest for rest in below if _tell_law(points.take(rest))][:MOST_SIZES]
    if not below:
        return None
    laws = fit_again(fit, weight=np.array(below, dtype=float))
    sizes, errors, squares, number = list[float](), list[float](), 0.0, 0
    beyond = np.zeros(len(points), dtype=bool)  # of sizes that are larger still
    for at, rest in enumerate(below):
        law = Law(*(float(np.asarray(each)[at, 0]) for each in vars(laws).values()))
        these, known = points.take(~rest & ~beyond), points.take(rest)
        beyond = ~rest
        error = np.log(these.loss / law.foretell(these.parameters, these.tokens))
        spread = _spread_out(
            law.slope(known.parameters, known.tokens), law.slope(these.parameters, these.tokens)
        )
        squares += float(error @ np.linalg.solve(spread, error))
        number += len(these)
        sizes.append(float(these.parameters.max()))
        errors.append(float(np.sqrt((error**2).mean())))
    return Backtest(tuple(sizes), tuple(errors), math.sqrt(squares / number))


def _list_borders(parameters: Array) -> Array:
    """The least of each size's runs, the largest size first."""
    ordered = np.sort(parameters)
    begins = np.concatenate([[True], np.diff(np.log(ordered)) > APART])
    return ordered[begins][::-1]


def _tell_law(points: Points) -> bool:
    sizes, amounts = len(np.unique(points.parameters)), len(np.unique(points.tokens))
    return len(points) >= LEAST_POINTS and min(sizes, amounts) >= LEAST_SIZES


def _spread_out(slopes: Array, there: Array) -> Array:
    """V, of runs of variance 1.  [n, 5], [m, 5] -> [m, m]"""
    weights = there @ np.linalg.pinv(slopes, rcond=1e-8)
    return np.eye(len(there)) + weights @ weights.T
