"""Fits L = E + A / N^α + B / D^β: Huber's loss on log L, BFGS from a grid of starts (Hoffmann et
al. 2022, appendix D.3; started, stopped and judged as Besiroglu et al. 2024 mend it).

Many fits run side by side, one a row: the starts of one data set, or the samples of a bootstrap.
With five parameters a whole inverse Hessian takes less than L-BFGS's history, so it is kept.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.evaluate.scaling.law import Array, Law, Points

HUBER = 1e-3  # of log L, as published
# As in appendix D.3, as far as they differ after centring: log E, the two terms in the middle of
# the data, each over the loss there, and the two powers.
_STARTS = (
    (-1.0, -0.5, 0.0, 0.5, 1.0),
    (-3.0, -1.0, 0.5),
    (-3.0, -1.0, 0.5),
    (0.1, 0.4, 0.8, 1.5),
    (0.1, 0.4, 0.8, 1.5),
)
KEPT_STARTS = 24
STEPS = 400
LARGEST = 300.0  # log A and log B
_SIDE_BY_SIDE = 64  # samples whose arrays stay in a core's cache
LEAST_POINTS = 6  # five parameters, and one thing that they could fail to say
LEAST_SIZES = 3


@dataclass(frozen=True)
class Fit:
    """law: of the best start. residual: log of what was seen over what the law says.  [n]"""

    law: Law
    points: Points
    residual: Array
    huber: float

    @property
    def theta(self) -> Array:
        """The law as the fitter has it.  [5]"""
        return _Problem(self.points, self.huber).pack(self.law)


def check_points(points: Points, what: str) -> None:
    """Raises UserError for points that cannot tell five parameters."""
    sizes, amounts = len(np.unique(points.parameters)), len(np.unique(points.tokens))
    if sizes < LEAST_SIZES or amounts < LEAST_SIZES:
        raise UserError(
            f"{what} has {sizes} {'size' if sizes == 1 else 'different sizes'} and {amounts} "
            f"different {'number' if amounts == 1 else 'numbers'} of tokens: a law of both wants "
            f"{LEAST_SIZES} or more of each. Add runs of other sizes and lengths."
        )
    if len(points) < LEAST_POINTS:
        raise UserError(
            f"{what} has {len(points)} runs, and the law has five parameters: give "
            f"{LEAST_POINTS} or more."
        )


def fit_law(points: Points, huber: float = HUBER) -> Fit:
    """The law nearest to all points. Raises UserError as `check_points` does."""
    check_points(points, "the data")
    problem = _Problem(points, huber)
    starts = problem.list_starts()
    first = problem.losses(starts, problem.target[None])
    starts = starts[np.argsort(first)[:KEPT_STARTS]]
    target = np.broadcast_to(problem.target, (len(starts), len(points)))
    ends, losses = problem.descend(starts, target, widths=(100.0, 10.0))
    law = problem.unpack(ends[np.argmin(losses)])
    seen = np.log(points.loss / law.foretell(points.parameters, points.tokens))
    return Fit(law, points, seen, huber)


def fit_again(fit: Fit, log_loss: Array | None = None, weight: Array | None = None) -> Law:
    """Laws of S samples of `fit`'s points, each from where that ended.

    log_loss: in place of the points' own.  [S, n]. weight: of each point.  [S, n]
    """
    problem = _Problem(fit.points, fit.huber)
    given = log_loss if log_loss is not None else weight
    assert given is not None
    starts = np.repeat(fit.theta[None], len(given), 0)
    target = problem.target[None] if log_loss is None else log_loss
    target = np.broadcast_to(target, given.shape)
    ends = [
        problem.descend(
            starts[a : a + _SIDE_BY_SIDE], target[a : a + _SIDE_BY_SIDE],
            None if weight is None else weight[a : a + _SIDE_BY_SIDE],
        )[0]
        for a in range(0, len(given), _SIDE_BY_SIDE)
    ]  # fmt: skip
    return problem.unpack(np.concatenate(ends))


class _Problem:
    """θ = (log E, log A', log B', α, β), A' and B' at the middle of the data: uncentred, log A and
    α move together and a descent crawls along their valley.
    """

    def __init__(self, points: Points, huber: float) -> None:
        n, d = np.log(points.parameters), np.log(points.tokens)
        self.middle = float(n.mean()), float(d.mean())
        self.n, self.d = n - self.middle[0], d - self.middle[1]
        self.target, self.huber = np.log(points.loss), huber

    def list_starts(self) -> Array:
        grid = np.array(list(itertools.product(*_STARTS)))
        grid[:, :3] += self.target.mean()
        return grid

    def pack(self, law: Law) -> Array:
        a = np.log(law.A) - law.alpha * self.middle[0]
        b = np.log(law.B) - law.beta * self.middle[1]
        return np.array([np.log(law.E), a, b, law.alpha, law.beta], dtype=np.float64)

    def unpack(self, theta: Array) -> Law:
        """[5] -> one law; [S, 5] -> S of them, each field [S, 1]."""
        e, a, b, alpha, beta = theta if theta.ndim == 1 else theta.T[:, :, None]
        scaled_a, scaled_b = a + alpha * self.middle[0], b + beta * self.middle[1]
        # Of powers that no data hold, some samples have numbers that no float does.
        scaled_a, scaled_b = (np.clip(each, -LARGEST, LARGEST) for each in (scaled_a, scaled_b))
        parts = (np.exp(e), np.exp(scaled_a), np.exp(scaled_b), alpha, beta)
        return Law(*(map(float, parts) if theta.ndim == 1 else parts))

    def losses(self, theta: Array, target: Array, weight: Array | None = None) -> Array:
        return self._loss(theta, target, weight)[0]

    def _loss(
        self, theta: Array, target: Array, weight: Array | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """[S, 5], [S, n] -> the loss [S], and what its gradient is made of."""
        e, a, b, alpha, beta = theta.T[:, :, None]
        terms = np.stack([
            np.broadcast_to(e, (len(theta), len(self.n))),
            a - alpha * self.n,
            b - beta * self.d,
        ])  # fmt: skip
        most = terms.max(0)
        shares = np.exp(terms - most)
        whole = shares.sum(0)
        error = most + np.log(whole) - target
        size = np.abs(error)
        small = size <= self.huber
        loss = np.where(small, 0.5 * error**2, self.huber * (size - 0.5 * self.huber))
        slope = np.where(small, error, self.huber * np.sign(error))
        if weight is not None:
            loss, slope = weight * loss, weight * slope
        # by the threshold, so that the loss is of the size of the errors
        return loss.sum(1) / self.huber, (shares / whole, slope / self.huber)

    def _gradient(self, shares: Array, slope: Array) -> Array:
        parts = shares * slope
        return np.stack(
            [*parts.sum(2), -(parts[1] * self.n).sum(1), -(parts[2] * self.d).sum(1)], axis=1
        )

    def descend(
        self, starts: Array, target: Array, weight: Array | None = None,
        widths: tuple[float, ...] = (10.0,),
    ) -> tuple[Array, Array]:  # fmt: skip
        """Each row to its own minimum.  [S, 5], [S, n] -> [S, 5], [S]

        widths: of the threshold before its own, where the loss is smoother: of an almost absolute
        loss alone a descent stops at the first edge.
        """
        theta, wanted = starts, self.huber
        losses = np.zeros(len(starts))
        for huber in [*(wanted * w for w in widths if wanted * w < 0.5), wanted]:
            self.huber = huber
            theta, losses = self._descend(theta, target, weight)
        self.huber = wanted
        return theta, losses

    def _descend(self, starts: Array, target: Array, weight: Array | None) -> tuple[Array, Array]:
        theta = starts.copy()
        rows = np.arange(len(theta))
        loss, parts = self._loss(theta, target, weight)
        slope = self._gradient(*parts)
        inverse = np.repeat(np.eye(5)[None], len(theta), 0)
        final = loss.copy()
        at, wish, heavy = theta.copy(), target, weight
        for _ in range(STEPS):
            step = -np.einsum("sij,sj->si", inverse, slope)
            along = (step * slope).sum(1)
            uphill = along >= 0
            step[uphill], inverse[uphill] = -slope[uphill], np.eye(5)
            along = (step * slope).sum(1)
            length = np.minimum(1.0, 2.0 / np.maximum(1e-300, np.abs(step).max(1)))
            moved, lower = self._search(at, step, length, loss, along, wish, heavy)
            after, parts = self._loss(moved, wish, heavy)
            new_slope = self._gradient(*parts)
            s, y = moved - at, new_slope - slope
            inverse = _update(inverse, s, y)
            gone = loss - after
            at, slope, loss = moved, new_slope, after
            theta[rows], final[rows] = at, loss
            going = lower & (gone > 1e-8 * (1 + np.abs(loss)))
            if not going.any():
                break
            rows, at, slope, loss = rows[going], at[going], slope[going], loss[going]
            inverse, wish = inverse[going], wish[going]
            heavy = None if heavy is None else heavy[going]
        return theta, final

    def _search(
        self, at: Array, step: Array, length: Array, loss: Array, along: Array, wish: Array,
        heavy: Array | None,
    ) -> tuple[Array, NDArray[np.bool_]]:  # fmt: skip
        """Halve each row's step until it goes down enough (Armijo); one that never does stays."""
        moved = at.copy()
        waiting = np.arange(len(at))
        for _ in range(30):
            tried = at[waiting] + length[waiting, None] * step[waiting]
            less = self.losses(tried, wish[waiting], None if heavy is None else heavy[waiting])
            enough = less <= loss[waiting] + 1e-4 * length[waiting] * along[waiting]
            moved[waiting[enough]] = tried[enough]
            waiting = waiting[~enough]
            if not len(waiting):
                break
            length[waiting] /= 2
        lower = np.ones(len(at), dtype=bool)
        lower[waiting] = False
        return moved, lower


def _update(inverse: Array, s: Array, y: Array) -> Array:
    """BFGS of each row's inverse Hessian; rows without positive curvature keep theirs."""
    curvature = (s * y).sum(1)
    good = curvature > 1e-12 * np.linalg.norm(s, axis=1) * np.linalg.norm(y, axis=1)
    rho = np.where(good, 1 / np.where(good, curvature, 1.0), 0.0)[:, None, None]
    left = np.eye(5) - rho * s[:, :, None] * y[:, None, :]
    new = left @ inverse @ left.transpose(0, 2, 1) + rho * s[:, :, None] * s[:, None, :]
    return np.where(good[:, None, None], new, inverse)
