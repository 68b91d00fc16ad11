"""What a mixture of sources comes to, learned from small runs, and the best mixture by it.

The law is that of Ye et al. 2024 ("Data Mixing Laws", eq. 6): the loss on each held-out text is
L_j(w) = c_j + exp(Σ_i t_ji w_i) of the shares w. As in RegMix (Liu et al. 2024) it is fitted on
runs whose shares were drawn from a Dirichlet distribution, and says of every other mixture what it
would come to. The mean of such losses is convex in w: it has one minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLOORS = np.linspace(0.0, 0.995, 30)  # of the least loss that was seen: where c may lie
ITERATIONS = 1000
RESAMPLES = 200


@dataclass(frozen=True)
class MixtureLaw:
    """floor: c of each held-out text.  [J]. slope: t.  [J, S]"""

    floor: Floats
    slope: Floats

    def foretell(self, shares: Floats) -> Floats:
        """The loss on each text.  [N, S] -> [N, J]"""
        return self.floor + np.exp(shares @ self.slope.T)


@dataclass(frozen=True)
class BestMixture:
    """shares: of the least mean loss.  [S]. low, high: what the shares of laws lie between that
    were fitted on as many runs with other luck.  [S]. error: of the law, on runs left out one by
    one, as a share of how far losses differ.
    """

    shares: Floats
    low: Floats
    high: Floats
    law: MixtureLaw
    error: float


def draw_shares(sources: int, number: int, seed: int, least: float = 0.02) -> Floats:
    """Near each corner of the simplex one, the even one, then by lot.  [number, S]"""
    random = np.random.default_rng(seed)
    corners = np.full((sources, sources), least) + (1 - sources * least) * np.eye(sources)
    even = np.full((1, sources), 1 / sources)
    lots = random.dirichlet(np.ones(sources), size=max(number - sources - 1, 0))
    drawn = least + (1 - sources * least) * lots
    return np.concatenate([corners, even, drawn])[:number]


def fit_law(shares: Floats, losses: Floats) -> MixtureLaw:
    """Of each text the floor with the least squared error, and its slopes by weighted least squares
    of log(L − c): a small error of L is one of so much in its logarithm.  [N, S], [N, J]
    """
    floors, slopes = [], []
    for loss in losses.T:
        tried = FLOORS * loss.min()
        slope, error = _try_floors(shares, loss, tried)
        best = int(np.argmin(error))
        low, high = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
        tried = np.linspace(low, high, len(tried))
        slope, error = _try_floors(shares, loss, tried)
        best = int(np.argmin(error))
        floors.append(tried[best])
        slopes.append(slope[best])
    return MixtureLaw(np.array(floors), np.array(slopes))


def _try_floors(shares: Floats, loss: Floats, floors: Floats) -> tuple[Floats, Floats]:
    """The slopes of each floor, and the squared error.  [N, S], [N], [F] -> [F, S], [F]"""
    above = loss - floors[:, None]
    squares = np.einsum("fn,ns,nt->fst", above**2, shares, shares)
    right = (above**2 * np.log(above)) @ shares
    slope = np.linalg.solve(squares, right[..., None])[..., 0]
    told = floors[:, None] + np.exp(slope @ shares.T)
    return slope, ((told - loss) ** 2).sum(1)


def minimise(laws: Sequence[MixtureLaw], counts: Floats) -> Floats:
    """The shares of the least Σ_j counts_j L_j(w) by each law, by exponentiated gradient steps
    (Kivinen & Warmuth 1997), which stay on the simplex.  [J] -> [laws, S]
    """
    slope = np.array([law.slope for law in laws])  # [R, J, S]
    loss = lambda w: np.exp((slope @ w[..., None])[..., 0]) @ counts  # noqa: E731
    shares = np.full((len(laws), slope.shape[2]), 1 / slope.shape[2])
    rate, now = np.ones((len(laws), 1)), loss(shares)
    for _ in range(ITERATIONS):
        above = counts * np.exp((slope @ shares[..., None])[..., 0])  # [R, J]
        gradient = (above[:, None] @ slope)[:, 0]
        step = shares * np.exp(-rate * (gradient - gradient.min(1, keepdims=True)))
        tried = step / step.sum(1, keepdims=True)
        then = loss(tried)
        better = (then <= now)[:, None]
        moved = np.abs(tried - shares).max()
        shares, now = np.where(better, tried, shares), np.minimum(then, now)
        rate = rate * np.where(better, 1.2, 0.5)
        if moved < 1e-7:
            break
    return shares


def find_best(
    shares: Floats, losses: Floats, counts: Sequence[float], seed: int = 0, share: float = 0.95
) -> BestMixture:
    """shares: of the runs.  [N, S]. losses: on each text.  [N, J]. counts: how much each text
    counts.  [J]. The interval is by the bootstrap of residuals, which are made as large as those
    of runs that the law has not seen.
    """
    weight = np.asarray(counts, dtype=float) / np.sum(counts)
    law = fit_law(shares, losses)
    told = law.foretell(shares)
    runs, free = len(shares), shares.shape[1] + 1
    residuals = (losses - told) * np.sqrt(runs / max(runs - free, 1))
    residuals -= residuals.mean(0)
    random = np.random.default_rng(seed)
    # a run's luck is the same on all texts: its residuals go together
    lucks = (residuals[random.integers(runs, size=runs)] for _ in range(RESAMPLES))
    best, *others = minimise([law, *(fit_law(shares, told + luck) for luck in lucks)], weight)
    low, high = np.quantile(others, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return BestMixture(best, low, high, law, leave_out(shares, losses, weight))


def leave_out(shares: Floats, losses: Floats, weight: Floats) -> float:
    """Root mean square error on runs left out one by one, of the spread of what they came to."""
    errors = []
    for number in range(len(shares)):
        rest = np.arange(len(shares)) != number
        told = fit_law(shares[rest], losses[rest]).foretell(shares[~rest])[0]
        errors.append(float(weight @ (told - losses[number])))
    spread = float((losses @ weight).std())
    return float(np.sqrt(np.mean(np.square(errors)))) / max(spread, 1e-12)
