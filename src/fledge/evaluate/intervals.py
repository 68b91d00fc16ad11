"""How sure a figure over questions is: intervals of a share and of a mean, of the difference of two
models on the same questions, and how many questions a difference takes to be seen.

Wilson 1927; Student 1908; the percentile bootstrap, Efron 1979; paired by question as in Miller
2024, "Adding Error Bars to Evals", §4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
RATIO_RESAMPLES = 2_000
CHUNK = 2**22  # numbers of the resampling that exist at a time
SHARE = 0.95


def normal_quantile(share: float) -> float:
    """z with Φ(z) = share."""
    return NormalDist().inv_cdf(share)


def share_interval(right: float, number: float, share: float = SHARE) -> tuple[float, float]:
    """Wilson's score interval of p, of which `right` of `number` were seen: all p for which
    |p̂ − p| ≤ z √(p (1 − p) / n). (0, 1) for none seen.
    """
    if number <= 0:
        return 0.0, 1.0
    z = normal_quantile((1 + share) / 2)
    seen = right / number
    middle = (seen + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number)
    half *= math.sqrt(seen * (1 - seen) / number + z * z / (4 * number * number))
    return max(0.0, middle - half), min(1.0, middle + half)


def bounded_interval(values: Sequence[float], share: float = SHARE) -> tuple[float, float]:
    """Of the mean of N values in [0, 1], such as ½ for a tie: Wilson's for as many yes-or-no
    answers as would vary as much, n = N · m (1 − m) / s².
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return 0.0, 1.0
    mean, variance = float(x.mean()), float(x.var())
    number = len(x) * mean * (1 - mean) / variance if variance > 0 else float(len(x))
    # Values between vary less than yes and no with the same mean, never more.
    number = max(number, float(len(x)))
    return share_interval(mean * number, number, share)


def mean_interval(
    values: Sequence[float], seed: int = 0, share: float = SHARE
) -> tuple[float, float]:
    """Percentile bootstrap of a mean over questions.  [N] -> low, high"""
    means = _resample(np.asarray(values, dtype=np.float64), seed)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def student_interval(values: Sequence[float], share: float = SHARE) -> tuple[float, float]:
    """Student's, of a mean over a few runs: five of them drawn with replacement vary too little,
    and 95 % of their bootstrap hold 84 times in 100.  [N], two or more -> low, high
    """
    x = np.asarray(values, dtype=np.float64)
    half = student_quantile((1 + share) / 2, len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def student_quantile(share: float, freedom: int) -> float:
    """t with P(T ≤ t) = share, from ½ on, by bisection of the angle θ = arctan(t / √ν): P(|T| ≤ t)
    is a finite sum over powers of its cosine (Abramowitz & Stegun 26.7.3 and 26.7.4).
    """

    def within(angle: float) -> float:
        cosine, odd = math.cos(angle), freedom % 2
        term, total = cosine if odd else 1.0, 0.0
        for k in range(odd, freedom - 1, 2):
            total += term
            term *= cosine**2 * (k + 1) / (k + 2)
        total *= math.sin(angle)
        return (angle + total) * 2 / math.pi if odd else total

    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 2 * share - 1 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def ratio_interval(
    above: Sequence[float], below: Sequence[float], seed: int = 0, share: float = SHARE
) -> tuple[float, float]:
    """Percentile bootstrap of Σ above / Σ below over units that have both, such as documents with
    their bits and bytes.  [N], [N] -> low, high
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (above, below))
    random, ratios = np.random.default_rng(seed), []
    for _ in range(RATIO_RESAMPLES):
        drawn = random.integers(len(a), size=len(a))
        ratios.append(a[drawn].sum() / b[drawn].sum() if b[drawn].sum() else float("nan"))
    low, high = np.nanquantile(ratios, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Of two models on the same questions: the mean of theirs minus ours, where `share` of the
    resampled means lie, and how likely such a one or a larger is where there is none.

    disagree: the share of the questions whose two values differ.
    """

    difference: float
    low: float
    high: float
    p: float
    disagree: float


def paired_difference(
    first: Sequence[float], second: Sequence[float], seed: int = 0, share: float = SHARE
) -> Difference:
    """second − first, question by question, by the paired bootstrap. p: of a two-sided test by the
    resampled means, moved to 0.  [N], [N]
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if a.shape != b.shape or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} values were given: give as many, one or more.")
    gaps = b - a
    means, seen = _resample(gaps, seed), float(gaps.mean())
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    beyond = np.count_nonzero(np.abs(means - seen) >= abs(seen) - 1e-12)
    p = (1 + beyond) / (1 + len(means))
    return Difference(seen, float(low), float(high), float(p), float(np.mean(gaps != 0)))


def _resample(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of N values drawn with replacement, `RESAMPLES` times."""
    number, random = len(values), np.random.default_rng(seed)
    if not number:
        raise ValueError("no value was given: an interval needs one or more.")
    at_a_time = max(1, CHUNK // number)
    means = [
        values[random.integers(number, size=(min(at_a_time, RESAMPLES - a), number))].mean(1)
        for a in range(0, RESAMPLES, at_a_time)
    ]
    return np.concatenate(means)


def questions_needed(
    difference: float, disagree: float, power: float = 0.8, share: float = SHARE
) -> int:
    """How many questions two models have to answer, both the same ones, for a difference of their
    accuracies to be told from 0 with this power: n = (z_{α/2} + z_β)² (d − δ²) / δ², d the share on
    which one is right and the other is not (Connor 1987, eq. 3, without his correction under H₀).
    """
    if not 0 < abs(difference) <= disagree <= 1:
        raise ValueError(
            f"a difference of {difference} cannot come of {disagree} of the questions: it lies "
            "between 0 and that share."
        )
    z = normal_quantile((1 + share) / 2) + normal_quantile(power)
    return math.ceil(z * z * (disagree - difference**2) / difference**2)


def independent_questions_needed(
    difference: float, accuracy: float, power: float = 0.8, share: float = SHARE
) -> int:
    """The same where each model has questions of its own, the first right on a share `accuracy` of
    them: n of each = (z_{α/2} + z_β)² (p (1 − p) + q (1 − q)) / δ², q = p + δ.
    """
    other = accuracy + difference
    if not (0 <= accuracy <= 1 and 0 <= other <= 1 and difference):
        raise ValueError(f"accuracies of {accuracy} and {other} were given: both lie in [0, 1].")
    z = normal_quantile((1 + share) / 2) + normal_quantile(power)
    spread = accuracy * (1 - accuracy) + other * (1 - other)
    return math.ceil(z * z * spread / difference**2)
