"""Whether a model is right as often as it says: confidence beside accuracy, in bins, and proper
scores of the probabilities.

Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3; Brier 1950.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fledge.evaluate.intervals import share_interval


@dataclass(frozen=True)
class Bin:
    """Of the answers whose confidence lies here: how many, the mean confidence, how many of them
    were right, and where that share lies.
    """

    number: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """error: the expected calibration error, Σ_b n_b / N · |accuracy_b − confidence_b|; of few
    answers it is above 0 by chance alone, by `by_chance` were the confidences true. brier: mean of
    Σ_c (p_c − [c is right])². nats: mean of −log p of the right one.
    """

    error: float
    by_chance: float
    brier: float
    nats: float
    confidence: float
    accuracy: float
    bins: list[Bin]


def measure_calibration(
    probabilities: Sequence[Sequence[float]], right: Sequence[int], bins: int = 10, seed: int = 0
) -> Calibration:
    """probabilities: of each question's choices, which add up to 1; right: the number of the right
    one. The answer is the likeliest choice, its probability the confidence. Bins of equal width.
    """
    if len(probabilities) != len(right) or not right:
        raise ValueError(
            f"{len(probabilities)} questions and {len(right)} answers were given: give as many, "
            "one or more."
        )
    rows = [np.asarray(each, dtype=np.float64) for each in probabilities]
    confidence = np.array([row.max() for row in rows])
    hit = np.array([float(row.argmax() == r) for row, r in zip(rows, right, strict=True)])
    said = np.array([row[r] for row, r in zip(rows, right, strict=True)])
    brier = np.array([(row**2).sum() + 1 - 2 * row[r] for row, r in zip(rows, right, strict=True)])
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    table: list[Bin] = []
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        if count:
            low, high = share_interval(float(hit[inside].sum()), count)
            mean = float(confidence[inside].mean())
            table.append(Bin(count, mean, float(hit[inside].mean()), low, high))
    random = np.random.default_rng(seed)
    chance = [
        _error(confidence, (random.random(len(hit)) < confidence).astype(float), place, bins)
        for _ in range(200)
    ]
    return Calibration(
        error=_error(confidence, hit, place, bins),
        by_chance=float(np.mean(chance)),
        brier=float(brier.mean()),
        nats=float(-np.log(np.maximum(said, 1e-300)).mean()),
        confidence=float(confidence.mean()),
        accuracy=float(hit.mean()),
        bins=table,
    )


def _error(confidence: np.ndarray, hit: np.ndarray, place: np.ndarray, bins: int) -> float:
    """Σ_b |Σ_{i in b} (hit_i − confidence_i)| / N"""
    gaps = np.bincount(place, weights=hit - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(hit))
