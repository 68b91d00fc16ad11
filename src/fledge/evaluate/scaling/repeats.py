"""What repeated tokens are still worth: the law of unique data, of effective parameters N' and
tokens D' (Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", eq. 5 to 7).

Of U unique tokens seen R_D times again, D' = U + U R*_D (1 − exp(−R_D / R*_D)): R*_D times U is all
that repeating can add. N' is the same of the parameters that U tokens deserve and those beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.errors import UserError
from fledge.evaluate.scaling.bootstrap import Interval, UncertainLaw
from fledge.evaluate.scaling.fitting import HUBER
from fledge.evaluate.scaling.law import TRAINING_FLOP, Array, Law, Points

LEAST_REPEATED = 3  # two constants, and one thing that they could fail to say
# Between what R* is looked for: a repeat that is worth next to nothing, and one as good as new.
LOWEST, HIGHEST = 0.02, 2000.0
_GRID, _ROUNDS = 17, 9
_SIZES, _NARROWED = 101, 6  # of the search for a budget's best size
RESAMPLES = 200


@dataclass(frozen=True)
class RepeatedLaw:
    """law: of tokens seen once. data, parameters: R*_D and R*_N; or S of each, as in `law`."""

    law: Law
    data: Array | float
    parameters: Array | float

    def effective(
        self, parameters: Array | float, tokens: Array | float, unique: Array | float
    ) -> tuple[Array, Array]:
        """N' and D'.  [n] each -> [n] or [S, n] twice"""
        n, d, u = (np.asarray(each, float) for each in (parameters, tokens, unique))
        deserved = np.minimum(n, deserve_parameters(self.law, u))
        return _fade(n, deserved, self.parameters), _fade(d, np.minimum(d, u), self.data)

    def foretell(
        self, parameters: Array | float, tokens: Array | float, unique: Array | float
    ) -> Array:
        """Loss.  [n] each -> [n] or [S, n]"""
        return self.law.foretell(*self.effective(parameters, tokens, unique))

    def best_parameters(self, flop: float, unique: float, most: Array | float = np.inf) -> Array:
        """Of the least loss for a budget C = 6 N D where there are so many unique tokens; D / U is
        how often each is then seen. By a grid over log N, narrowed. most: that N may be, or one for
        each of S laws.  [1] or [S, 1]
        """
        number = np.size(self.data)
        high = np.full((number, 1), np.log(flop / TRAINING_FLOP))
        high = np.minimum(high, np.log(np.reshape(most, (-1, 1))))
        low = np.zeros((number, 1))
        steps = np.linspace(0, 1, _SIZES)
        for _ in range(_NARROWED):
            log_sizes = low + (high - low) * steps
            sizes = np.exp(log_sizes)
            loss = np.atleast_2d(self.foretell(sizes, flop / (TRAINING_FLOP * sizes), unique))
            best = np.take_along_axis(log_sizes, loss.argmin(1)[:, None], 1)
            reach = 2 * (high - low) / (_SIZES - 1)
            low, high = np.maximum(low, best - reach), np.minimum(high, best + reach)
        return np.exp((low + high) / 2)


@dataclass(frozen=True)
class UncertainRepeats:
    """fit: to all runs. data, parameters: R*_D and R*_N; the latter None where no run has more
    parameters than its unique tokens deserve, which alone would tell it. samples: S such laws.
    """

    fit: RepeatedLaw
    points: Points
    data: Interval
    parameters: Interval | None
    samples: RepeatedLaw
    share: float

    def best_epochs(self, flop: float, unique: float) -> tuple[Interval, Interval]:
        """Of a budget's best: parameters, and how often each of the unique tokens is seen. Sizes
        beyond what these deserve are left out where no run tells what such are worth.
        """
        sizes = [
            law.best_parameters(
                flop, unique,
                np.inf if self.parameters else deserve_parameters(law.law, unique),
            ).ravel()
            for law in (self.fit, self.samples)
        ]  # fmt: skip
        ends = [(1 - self.share) / 2, (1 + self.share) / 2]
        intervals = []
        for value, samples in (sizes, [flop / (TRAINING_FLOP * n * unique) for n in sizes]):
            low, high = np.quantile(samples, ends)
            intervals.append(Interval(float(value[0]), float(low), float(high)))
        return intervals[0], intervals[1]


def _fade(whole: Array, unique: Array, constant: Array | float) -> Array:
    """U + U R* (1 − exp(−R / R*)), R = whole / U − 1 (eq. 5)."""
    again = whole / unique - 1
    return unique * (1 - np.asarray(constant) * np.expm1(-again / np.asarray(constant)))


def deserve_parameters(law: Law, unique: Array | float) -> Array:
    """Compute-optimal parameters of so many tokens, seen once: N* = G (U G)^(β/α), the two lines of
    Hoffmann et al.'s eq. 4 with C taken out. Without end by a law of which more parameters or
    tokens lower no loss.
    """
    alpha, beta = np.asarray(law.alpha), np.asarray(law.beta)
    with np.errstate(all="ignore"):
        scale = (alpha * law.A / (beta * law.B)) ** (1 / (alpha + beta))
        deserved = scale * (np.asarray(unique, float) * scale) ** (beta / alpha)
    return np.where((alpha > 0) & (beta > 0) & (deserved > 0), deserved, np.inf)


def is_repeated(points: Points) -> np.ndarray:
    """Which runs saw tokens again: by more than a hundredth of them.  [n] bool"""
    return points.tokens > 1.01 * points.unique


def fit_repeats(law: Law, points: Points, weight: Array, huber: float = HUBER) -> RepeatedLaw:
    """R*_D and R*_N of runs that repeat, their law being known, by Huber's loss on log L, as the
    paper fits them: after the other five.

    law: one, or S (fields [S, 1]). weight: of each run, for each of these.  [n] or [S, n]. A grid
    over both logarithms is narrowed to its best place and the neighbours of it, again and again:
    the loss has one valley in each, and two numbers do not want a gradient.
    """
    samples = np.atleast_2d(weight)
    number = len(samples)
    parts = [np.broadcast_to(np.reshape(x, (-1, 1)), (number, 1)) for x in vars(law).values()]
    laws = Law(*(each[:, None, None] for each in parts))  # [S, 1, 1, 1]
    log_loss = np.log(points.loss)
    low = np.full((number, 2), np.log(LOWEST))
    high = np.full((number, 2), np.log(HIGHEST))
    rows, steps = np.arange(number), np.linspace(0, 1, _GRID)
    best = low
    for _ in range(_ROUNDS):
        grid = low[:, None] + (high - low)[:, None] * steps[:, None]  # [S, G, 2]
        tried = RepeatedLaw(
            laws, np.exp(grid[:, :, None, None, 0]), np.exp(grid[:, None, :, None, 1])
        )
        said = tried.foretell(points.parameters, points.tokens, points.unique)
        error = np.abs(np.log(said) - log_loss)
        each = np.where(error <= huber, 0.5 * error**2, huber * (error - 0.5 * huber))
        loss = (each * samples[:, None, None]).sum(-1)  # [S, G, G]
        data, size = np.unravel_index(loss.reshape(number, -1).argmin(1), (_GRID, _GRID))
        best = np.stack([grid[rows, data, 0], grid[rows, size, 1]], axis=1)
        # Three places to either side: the valley may lie askew, and the grid follows it.
        reach = 3 * (high - low) / (_GRID - 1)
        low = np.maximum(best - reach, np.log(LOWEST))
        high = np.minimum(best + reach, np.log(HIGHEST))
    data, size = np.exp(best.T)
    if np.ndim(weight) == 1:
        return RepeatedLaw(law, float(data[0]), float(size[0]))
    return RepeatedLaw(law, data[:, None], size[:, None])


def fit_repeats_with_intervals(
    base: UncertainLaw, points: Points, *, resamples: int = RESAMPLES, seed: int = 0
) -> UncertainRepeats:
    """base: the law of the runs that do not repeat. points: those that do; they are drawn with
    replacement, each time under another of the base's laws. Raises UserError for too few.
    """
    if len(points) < LEAST_REPEATED:
        raise UserError(
            f"{len(points)} of the runs saw tokens again, and what that is worth has two "
            f"constants: give {LEAST_REPEATED} or more such runs, or leave them out."
        )
    huber = base.fit.huber
    fit = fit_repeats(base.law, points, np.ones(len(points)), huber)
    random = np.random.default_rng(seed)
    number = len(points)
    weight = random.multinomial(number, np.full(number, 1 / number), size=resamples)
    drawn = random.integers(len(np.asarray(base.samples.E)), size=resamples)
    laws = Law(*(np.asarray(each)[drawn] for each in vars(base.samples).values()))
    samples = fit_repeats(laws, points, weight.astype(float), huber)
    wide = points.parameters > deserve_parameters(base.law, points.unique)
    return UncertainRepeats(
        fit,
        points,
        base.bound(fit.data, np.asarray(samples.data)),
        base.bound(fit.parameters, np.asarray(samples.parameters)) if wide.any() else None,
        samples,
        base.share,
    )
