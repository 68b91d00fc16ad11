"""The interquartile mean over runs with its bootstrap interval: robust like a median, and sharper
with few seeds.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", §4.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000


def interquartile_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half: a quarter of the runs, rounded down, is left out at either end.
    [runs, …] -> […]
    """
    ordered = np.sort(x, axis=0)
    cut = len(x) // 4
    return ordered[cut : len(x) - cut].mean(0)


def interval(x: NDArray[np.float64], seed: int = 0, share: float = 0.95) -> tuple[NDArray, NDArray]:
    """Percentile bootstrap over runs: where `share` of the resampled interquartile means lie.
    [runs, …] -> low, high […]

    Few runs know little of their own spread: of normal returns a share of 0.95 covers the true mean
    for 3 runs in about 76 cases of a hundred, for 5 or 10 in about 92. With fewer than 4 runs
    nothing is left out, and the mean is the plain one.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(len(x), size=(RESAMPLES, len(x)))
    means = np.stack([interquartile_mean(x[rows]) for rows in drawn])
    edges = np.quantile(means, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return edges[0], edges[1]
