"""Documents that are nearly the same: MinHash of runs of five words, and bands of it (Broder 1997;
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3).

Two documents of which a share s of the runs are common to both share a band of R values with
probability s^R, and one of B bands with 1 − (1 − s^R)^B: with 14 bands of 8, 0.77 at s = 0.75 and
0.999 at s = 0.9, but 0.0009 at s = 0.3. Held of a document are its bands, 112 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fledge.curate.filtering import digest
from fledge.curate.word_hashes import Hashes, hash_runs, hash_words, mix

BANDS, ROWS = 14, 8
SHINGLE = 5  # words
AT_A_TIME = 64  # documents whose runs are in memory
_CACHED = 1 << 14  # runs whose products stay in a core's cache
_RANDOM = np.random.default_rng(0x5EED)
FACTORS = _RANDOM.integers(1 << 63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)


def hash_bands(texts: Sequence[str]) -> Hashes:
    """The bands of each text. What has fewer words than a run has one run of all of them, and what
    has none its own digest.  [texts, BANDS]
    """
    hashed = hash_words(texts)
    parts = []
    for text, begin, end in zip(texts, hashed.first, hashed.first[1:], strict=False):
        words = hashed.words[begin:end]
        runs = hash_runs(words, min(SHINGLE, max(1, len(words))))
        if not len(runs):  # dashes alone are no copy of dots alone
            runs = np.frombuffer(digest(text)[:8], dtype=np.uint64)
        parts.append(runs)
    lengths = np.array([len(part) for part in parts])
    least = _find_least(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]))
    bands = least.reshape(len(texts), BANDS, ROWS)
    folded = np.zeros((len(texts), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        folded = mix(folded * np.uint64(0x9E3779B97F4A7C15) + bands[:, :, row])
    return folded


def _find_least(runs: Hashes, borders: NDArray[np.int64]) -> Hashes:
    """Of each text, by each permutation h · a mod 2⁶⁴, the smallest.  [texts, BANDS · ROWS]"""
    least = np.full((len(borders) - 1, len(FACTORS)), np.iinfo(np.uint64).max, dtype=np.uint64)
    for begin in range(0, len(runs), _CACHED):
        end = min(begin + _CACHED, len(runs))
        first = int(np.searchsorted(borders, begin, side="right")) - 1
        last = int(np.searchsorted(borders, end, side="left"))
        starts = np.maximum(borders[first:last] - begin, 0)
        part = runs[begin:end]
        for number, factor in enumerate(FACTORS):
            smallest = np.minimum.reduceat(part * factor, starts)
            np.minimum(least[first:last, number], smallest, out=least[first:last, number])
    return least


def find_clusters(bands: Hashes) -> NDArray[np.int64]:
    """The first document that each is nearly a copy of, through others if need be; itself for
    none.  [N, BANDS] -> [N]
    """
    first = np.arange(len(bands))
    for band in range(bands.shape[1]):
        values = bands[:, band]
        order = np.argsort(values, kind="stable")
        same = values[order][1:] == values[order][:-1]
        for at in np.flatnonzero(same):
            _unite(first, int(order[at]), int(order[at + 1]))
    for number in range(len(first)):
        first[number] = _root(first, number)
    return first


def _unite(first: NDArray[np.int64], a: int, b: int) -> None:
    a, b = _root(first, a), _root(first, b)
    first[max(a, b)] = min(a, b)


def _root(first: NDArray[np.int64], number: int) -> int:
    while first[number] != number:
        first[number] = first[first[number]]
        number = int(first[number])
    return number
