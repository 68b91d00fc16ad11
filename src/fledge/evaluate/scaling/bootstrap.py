"""How sure a scaling law is: laws of resampled runs, and between what its figures and a run that
nobody has made yet lie.

From `MANY` runs on, runs are drawn with replacement (pairs), as Besiroglu et al. 2024 do. Of fewer,
most such samples lack a size or a length altogether, and residuals, which a fit of five parameters
has made small, draw intervals that are too short. There log L is drawn anew around the law, normal,
with a variance that is itself uncertain, s² = RSS / χ²(n − 5): in the linear case Student's
interval. That is luck alone; that a law is only nearly true is in what is said of a run, by how
laws of the smaller runs did on the larger ones (backtest.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.evaluate.scaling.backtest import Backtest, backtest
from fledge.evaluate.scaling.fitting import HUBER, Fit, check_points, fit_again, fit_law
from fledge.evaluate.scaling.law import NAMES, Array, Law, Points

MANY = 40
HUBER_OF_FEW = 0.03  # an almost absolute loss goes through five of few points, and looks certain
PARAMETERS = len(NAMES)
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """value: of the fit itself. low, high: where `share` of the resampled ones lie."""

    value: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class UncertainLaw:
    """fit: to all runs. samples: S laws, each field [S, 1]. noise: of log L of one run in each of
    these samples.  [S, 1]. tested: how laws of smaller runs did on larger ones; None where too few
    sizes are left for that.
    """

    fit: Fit
    samples: Law
    noise: Array
    share: float
    tested: Backtest | None

    @property
    def law(self) -> Law:
        return self.fit.law

    @property
    def parameters(self) -> dict[str, Interval]:
        """E, A, B, alpha and beta, by their names."""
        return {
            name: self.bound(getattr(self.law, name), getattr(self.samples, name)[:, 0])
            for name in NAMES
        }

    def bound(self, value: Array | float, samples: Array) -> Interval:
        low, high = np.quantile(samples, [(1 - self.share) / 2, (1 + self.share) / 2])
        return Interval(float(value), float(low), float(high))

    def foretell(self, parameters: float, tokens: float) -> Interval:
        """The mean loss of such runs."""
        loss = self.samples.foretell(parameters, tokens)[:, 0]
        return self.bound(self.law.foretell(parameters, tokens), loss)

    def foretell_run(self, parameters: float, tokens: float) -> Interval:
        """The loss of one such run, which has luck of its own: as wide as the bootstrap or as what
        smaller runs said of larger ones, whichever is wider.
        """
        loss = self.samples.foretell(parameters, tokens) * np.exp(self.noise)
        lucky = self.bound(self.law.foretell(parameters, tokens), loss[:, 0])
        if self.tested is None:
            return lucky
        reach = self.tested.reach(self.law, self.fit.points, parameters, tokens, self.share)
        low, high = lucky.value * np.exp([-reach, reach])
        return Interval(lucky.value, min(lucky.low, float(low)), max(lucky.high, float(high)))

    def best_parameters(self, flop: float, served_tokens: float = 0.0) -> Interval:
        """Of the compute-optimal size of a budget."""
        sizes = self.samples.best_parameters(flop, served_tokens)[:, 0]
        return self.bound(self.law.best_parameters(flop, served_tokens), sizes)


def choose_huber(points: Points) -> float:
    """The published threshold, or a wider one for few points."""
    return HUBER if len(points) >= MANY else HUBER_OF_FEW


def fit_with_intervals(
    points: Points,
    *,
    huber: float | None = None,
    resamples: int = RESAMPLES,
    share: float = 0.9,
    seed: int = 0,
) -> UncertainLaw:
    """huber: by default as `choose_huber` says. Raises UserError as `check_points` does."""
    check_points(points, "the data")
    fit = fit_law(points, choose_huber(points) if huber is None else huber)
    tested = backtest(fit)
    random, number = np.random.default_rng(seed), len(points)
    left = number - PARAMETERS
    if number >= MANY:
        weight = random.multinomial(number, np.full(number, 1 / number), size=resamples)
        samples = fit_again(fit, weight=weight.astype(np.float64))
        noise = fit.residual[random.integers(number, size=(resamples, 1))]
        return UncertainLaw(fit, samples, noise * np.sqrt(number / left), share, tested)
    squares = float((fit.residual**2).sum())
    spread = np.sqrt(squares / random.chisquare(left, size=(resamples, 1)))
    middle = np.log(fit.law.foretell(points.parameters, points.tokens))
    drawn = middle + spread * random.standard_normal((resamples, number))
    samples = fit_again(fit, log_loss=drawn)
    noise = spread * random.standard_normal((resamples, 1))
    return UncertainLaw(fit, samples, noise, share, tested)
