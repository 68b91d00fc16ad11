"""How reward grows with compute: R = R0 + (A − R0) / (1 + (C_mid / C)^B), a sigmoid over log C that
ends at a ceiling A (Khatri et al. 2025, "The Art of Scaling Reinforcement Learning Compute for
LLMs", eq. 1).

R0 and A are linear, so that of every C_mid and B on a grid they have a closed form. An interval
holds every value that some curve has of which the squared error is no more than an F-test allows
over the least (profile likelihood). Neighbouring rows of one run are alike, and count as fewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.evaluate.intervals import student_quantile
from fledge.evaluate.scaling.bootstrap import Interval
from fledge.evaluate.scaling.law import Array

LEAST_ROWS = 10  # four parameters, and what they could fail to say
_MIDDLES, _POWERS = 90, 40  # places of the grid
_FURTHER = 30.0  # C_mid is looked for up to so many times the largest C, and down as far
_STEEPEST, _FLATTEST = 8.0, 0.25  # B
_ROUNDS = 3


@dataclass(frozen=True)
class Curve:
    """start: R0. ceiling: A. middle: C_mid. power: B."""

    start: float
    ceiling: float
    middle: float
    power: float

    def foretell(self, compute: Array | float) -> Array:
        """Reward after so much.  [n] -> [n]"""
        risen = _rise(np.asarray(compute, float), self.middle, self.power)
        return np.asarray(self.start + (self.ceiling - self.start) * risen)


@dataclass(frozen=True)
class Saturation:
    """curve: the best. noise: standard deviation of one row. counted: rows that these are worth
    where neighbours are alike. seen: whether a C_mid beyond all that was looked for is ruled out;
    else nothing bounds the ceiling.
    """

    curve: Curve
    compute: Array
    reward: Array
    noise: float
    counted: float
    share: float
    ceiling: Interval
    start: Interval
    seen: bool
    _cells: _Cells

    @property
    def middle(self) -> Interval:
        """C_mid, over all curves that are allowed."""
        cells = self._cells.middle
        return Interval(self.curve.middle, float(cells.min()), float(cells.max()))

    @property
    def power(self) -> Interval:
        """B, likewise."""
        cells = self._cells.power
        return Interval(self.curve.power, float(cells.min()), float(cells.max()))

    def foretell(self, compute: float) -> Interval:
        """The mean reward of rows there."""
        return self._cells.bound(self.curve, compute)

    def foretell_rows(self, compute: Array) -> Interval:
        """The mean of rows that there will be, which have luck of their own.  [m]"""
        each = self.foretell(float(np.exp(np.log(compute).mean())))
        rows = max(1.0, len(compute) * self.counted / len(self.reward))
        luck = _quantile(self.share, self.counted) * self.noise
        low = each.value - np.hypot(each.value - each.low, luck / rows**0.5)
        high = each.value + np.hypot(each.high - each.value, luck / rows**0.5)
        return Interval(each.value, float(low), float(high))


@dataclass(frozen=True)
class _Cells:
    """Curves of every C_mid and B that the F-test allows. start, gain: R0 and A − R0 of the best of
    each. left: squared error that each may have more. inverse: (XᵀX)⁻¹ of each.  [cells, …]. most:
    that A can be.
    """

    middle: Array
    power: Array
    start: Array
    gain: Array
    left: Array
    inverse: Array
    most: float

    def bound(self, curve: Curve, compute: float) -> Interval:
        """Of the reward at `compute`; infinity: of the ceiling."""
        at_end = np.ones_like(self.middle)
        weight = at_end if np.isinf(compute) else _rise(compute, self.middle, self.power)
        middle = self.start + self.gain * weight
        direction = np.stack([np.ones_like(weight), weight], -1)
        spread = np.einsum("ci,cij,cj->c", direction, self.inverse, direction)
        reach = np.sqrt(np.maximum(0.0, self.left * spread))
        value = curve.ceiling if np.isinf(compute) else float(curve.foretell(compute))
        high = min(self.most, float((middle + reach).max()))
        return Interval(value, float((middle - reach).min()), high)


def fit_saturation(
    compute: Array, reward: Array, *, most: float = np.inf, share: float = 0.9
) -> Saturation:
    """compute: above 0, in any unit; runs of one recipe may be put together.  [n] twice. most: that
    A can be. Raises UserError for too few rows, for a reward that is the same in all, and for one
    above `most`.
    """
    compute, reward = np.asarray(compute, float), np.asarray(reward, float)
    if len(reward) < LEAST_ROWS or len(np.unique(compute)) < LEAST_ROWS:
        raise UserError(
            f"{len(reward)} rows at {len(np.unique(compute))} places: a curve of reward over "
            f"compute has four parameters and wants {LEAST_ROWS} places or more. Give longer runs."
        )
    if np.ptp(reward) == 0:
        raise UserError(f"the reward is {reward[0]:g} in every row: no curve says how it grows.")
    if reward.max() > most:
        raise UserError(
            f"most={most:g} was given, and there is a row of {reward.max():g}: give that or more."
        )
    furthest = float(compute.max() * _FURTHER)
    tried = _try_grid(
        compute, reward, most, share, (math.log(compute.min() / _FURTHER), math.log(furthest)),
        (math.log(_FLATTEST), math.log(_STEEPEST)),
    )  # fmt: skip
    for _ in range(_ROUNDS - 1):
        tried = _try_grid(compute, reward, most, share, tried.middles, tried.powers)
    curve, cells = tried.curve, tried.cells
    return Saturation(
        curve, compute, reward, tried.noise, tried.counted, share, cells.bound(curve, np.inf),
        cells.bound(curve, 0.0), bool(cells.middle.max() < furthest * 0.99), cells,
    )  # fmt: skip


@dataclass(frozen=True)
class _Tried:
    """A grid's best curve, and those that are allowed beside it. middles, powers: between what the
    next grid looks, of their logarithms.
    """

    curve: Curve
    noise: float
    counted: float
    cells: _Cells
    middles: tuple[float, float]
    powers: tuple[float, float]


def _try_grid(
    compute: Array, reward: Array, most: float, share: float, middles: tuple[float, float],
    powers: tuple[float, float],
) -> _Tried:  # fmt: skip
    log_middle, log_power = (
        each.ravel()
        for each in np.meshgrid(
            np.linspace(middles[0], middles[1], _MIDDLES),
            np.linspace(powers[0], powers[1], _POWERS), indexing="ij",
        )
    )  # fmt: skip
    middle, power = np.exp(log_middle), np.exp(log_power)
    start, gain, squares, inverse = _solve(compute, reward, middle, power, most)
    best = int(np.argmin(squares))
    curve = Curve(
        float(start[best]), float(start[best] + gain[best]), float(middle[best]), float(power[best])
    )
    counted = _count_rows(compute, reward - curve.foretell(compute))
    # an F of one and ν is the square of a t of ν
    limit = squares[best] * (1 + _quantile(share, counted) ** 2 / max(1.0, counted - 4))
    allowed = squares <= limit
    cells = _Cells(
        middle[allowed], power[allowed], start[allowed], gain[allowed], limit - squares[allowed],
        inverse[allowed], most,
    )  # fmt: skip
    noise = math.sqrt(float(squares[best]) / max(1.0, len(reward) - 4))
    return _Tried(
        curve, noise, counted, cells, _narrow(log_middle, allowed), _narrow(log_power, allowed)
    )


def _quantile(share: float, counted: float) -> float:
    """Of Student's t, of rows so many and four parameters."""
    return student_quantile((1 + share) / 2, max(1, int(counted - 4)))


def _rise(compute: Array | float, middle: Array | float, power: Array | float) -> Array:
    """1 / (1 + (C_mid / C)^B); 0 before the first step."""
    c = np.asarray(compute, float)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1 / (1 + (np.asarray(middle) / c) ** power))


def _solve(
    compute: Array, reward: Array, middle: Array, power: Array, most: float
) -> tuple[Array, Array, Array, Array]:
    """R0, A − R0, squared error and (XᵀX)⁻¹ of each C_mid and B, by least squares; A is `most`
    where it would be more.  [cells] each
    """
    n = len(reward)
    w = np.concatenate([
        _rise(compute[None], middle[at : at + 256, None], power[at : at + 256, None])
        for at in range(0, len(middle), 256)
    ])  # fmt: skip
    mean, of_reward = w.mean(1), reward.mean()
    spread = np.maximum(((w - mean[:, None]) ** 2).sum(1), 1e-9 * n)
    gain = (w - mean[:, None]) @ (reward - of_reward) / spread
    start = of_reward - gain * mean
    over = start + gain > most
    if over.any():
        rest = 1 - w[over]
        gain[over] = (rest @ (most - reward)) / (rest**2).sum(1)
        start[over] = most - gain[over]
    squares = ((reward - start[:, None] - gain[:, None] * w) ** 2).sum(1)
    inverse = np.empty((len(middle), 2, 2))
    inverse[:, 0, 0] = 1 / n + mean**2 / spread
    inverse[:, 0, 1] = inverse[:, 1, 0] = -mean / spread
    inverse[:, 1, 1] = 1 / spread
    return start, gain, squares, inverse


def _count_rows(compute: Array, residual: Array) -> float:
    """n (1 − r) / (1 + r), r the correlation of neighbours, at least 0."""
    ordered = residual[np.argsort(compute, kind="stable")]
    r = float((ordered[1:] * ordered[:-1]).sum() / max(1e-300, float((ordered**2).sum())))
    r = min(0.95, max(0.0, r))
    return len(residual) * (1 - r) / (1 + r)


def _narrow(places: Array, allowed: NDArray[np.bool_]) -> tuple[float, float]:
    """Between what ends the next grid: the allowed part of this one and a place beyond."""
    axis, inside = np.unique(places), places[allowed]
    step = float(axis[1] - axis[0])
    return (
        max(float(axis[0]), float(inside.min()) - step),
        min(float(axis[-1]), float(inside.max()) + step),
    )
