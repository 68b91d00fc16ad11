"""N-gram models from counts: maximum likelihood, which gives nothing to what was never seen, and
two ways to keep some for it. No gradient and no steps: the answer is a formula.

sample: data.  score: –.  weigh: 1.  fit: relative frequency, less a discount.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fledge.models.language.ngram import Ngram, Order
from fledge.text.ngram_counts import Counts, Ints

Reals = NDArray[np.float64]

# Where a text is too small to estimate any: those of KenLM's fallback.
FALLBACK = (0.5, 1.0, 1.5)


class Discounts(NamedTuple):
    """What is taken from n-grams that were counted once, twice, and more often."""

    one: float
    two: float
    more: float

    def of(self, counts: Ints) -> Reals:
        """[N] -> [N]"""
        return np.array([0.0, *self])[np.minimum(counts, 3)]


def estimate_discounts(counts: Ints) -> Discounts:
    """D_i = i − (i + 1) Y n_{i+1}/n_i,  Y = n₁/(n₁ + 2n₂),  n_i: how many were counted i times
    (Chen & Goodman 1998, eq. 26); FALLBACK where that is no discount, because there are too few.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    if not n[1:5].all():
        return Discounts(*FALLBACK)
    y = n[1] / (n[1] + 2 * n[2])
    said = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
    if any(not 0 <= d <= i for i, d in enumerate(said, 1)):
        return Discounts(*FALLBACK)
    return Discounts(*said)


def kneser_ney(counts: Counts, sayable: NDArray[np.bool_], prune: int = 0) -> Ngram:
    """Interpolated modified Kneser–Ney (Chen & Goodman 1998, §4.1.6):

    p(w|h) = (c(hw) − D(c(hw))) / Σ_v c(hv) + γ(h) p(w|h'),  h' = h without its first token;
    where h is not the longest, c counts the different tokens that stood before hw, unless it begins
    a document, before which nothing stands. Single tokens are interpolated with the uniform
    distribution over `sayable` [V].

    prune: n-grams of two tokens or more that stood in the text at most so often are left out; what
    they had goes to γ.
    """
    adjusted = adjust_counts(counts)
    words = np.where(sayable, adjusted[0], 0)
    discounts = estimate_discounts(words)
    total = max(int(words.sum()), 1)
    kept = (words - discounts.of(words)) / total
    uniform = sayable / sayable.sum()
    below = kept + (1 - kept.sum()) * uniform  # p of single tokens [V]
    levels, leaves = [below], []
    staying = [np.arange(len(words))]  # numbers of what is not pruned, of each length
    for k, grams in enumerate(counts.grams):
        own = adjusted[k + 1]
        # What a document begins with stands nowhere else: it is never said after anything.
        total_of = np.bincount(grams.begins, weights=own, minlength=len(levels[-1]))
        discount = estimate_discounts(own)
        stays = counts.grams[k].counts > prune
        share = np.where(stays, own - discount.of(own), 0.0) / total_of[grams.begins]
        used = np.bincount(grams.begins, weights=share, minlength=len(levels[-1]))
        left = np.where(total_of > 0, 1 - used, 1.0)
        levels.append(share + left[grams.begins] * levels[-1][grams.suffix])
        leaves.append(left)
        staying.append(np.flatnonzero(stays))
    return _pack(counts, levels, leaves, staying)


def adjust_counts(counts: Counts) -> list[Ints]:
    """What Kneser–Ney counts: of every n-gram but the longest, the different tokens that stood
    before it; of those that open a document how often they stood.  -> [N] of each length
    """
    adjusted = []
    shorter = [counts.words, *(grams.counts for grams in counts.grams)]
    opens = np.zeros(len(counts.words), bool)
    if counts.border is not None:
        opens[counts.border] = True
    for k, raw in enumerate(shorter):
        if k == counts.order - 1:
            adjusted.append(raw)
            break
        before = np.bincount(counts.grams[k].suffix, minlength=len(raw))
        adjusted.append(np.where(opens, raw, before))
        opens = opens[counts.grams[k].begins]
    return adjusted


def add_k(counts: Counts, sayable: NDArray[np.bool_], k: float) -> Ngram:
    """p(w|h) = (c(hw) + k) / (Σ_v c(hv) + k |V|) for the longest h that was seen (Lidstone 1920;
    k = 0 is maximum likelihood).  k ≥ 0, sayable: bool [V].
    """
    size = int(sayable.sum())
    words = np.where(sayable, counts.words, 0)
    levels: list[Reals] = [np.where(sayable, (words + k) / (words.sum() + k * size), 0.0)]
    leaves: list[Reals] = []
    for grams in counts.grams:
        total = np.bincount(grams.begins, weights=grams.counts, minlength=len(levels[-1]))
        with np.errstate(invalid="ignore", divide="ignore"):
            leaves.append(np.where(total > 0, k / (total + k * size), np.nan))
        levels.append((grams.counts + k) / (total[grams.begins] + k * size))
    staying = [np.arange(len(level)) for level in levels]
    return _pack(counts, levels, leaves, staying, additive=True)


def _pack(
    counts: Counts,
    levels: list[Reals],
    leaves: list[Reals],
    staying: list[Ints],
    additive: bool = False,
) -> Ngram:
    """In float32, what was pruned left out and the rest numbered anew."""
    with np.errstate(divide="ignore"):
        logs = [np.log(level).astype(np.float32) for level in levels]
        left = [np.log(leave).astype(np.float32) for leave in leaves]
    left.append(np.zeros(0, np.float32))
    longer = []
    number = np.arange(len(levels[0]))
    for k, grams in enumerate(counts.grams):
        stay = staying[k + 1]
        keys = (number[grams.begins[stay]] << np.int64(32)) | grams.words[stay]
        longest = k == len(counts.grams) - 1
        longer.append(Order(keys, logs[k + 1][stay], left[k + 1] if longest else left[k + 1][stay]))
        number = np.full(len(grams.keys), -1)
        number[stay] = np.arange(len(stay))
    first = left[0] if counts.grams else np.zeros(len(levels[0]), np.float32)
    return Ngram(logs[0], first, tuple(longer), counts.border, additive)
