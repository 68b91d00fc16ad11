"""How often words stand near each other, one d words away counted 1/d (Pennington et al. 2014,
§4.2): sorted cells, a part of the text in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fledge.text.words import WordText

Ints = NDArray[np.int64]
Sums = NDArray[np.float64]
PART_WORDS = 2**18


def count_cooccurrences(
    text: WordText, vocab_size: int, window: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], Sums]:
    """Pairs of words, the smaller number first, and their weight; the matrix is symmetric, and a
    word stands beside itself twice.  -> rows, columns, X  [N] each
    """
    runs: list[tuple[Ints, Sums]] = []
    for keys, sums in _list_pairs(text, vocab_size, window):
        runs.append(_add_up(keys, sums))
        while len(runs) > 1 and len(runs[-1][0]) * 2 > len(runs[-2][0]):
            (a, x), (b, y) = runs.pop(), runs.pop()
            runs.append(_add_up(np.concatenate([b, a]), np.concatenate([y, x])))
    if not runs:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0)
    keys, sums = _add_up(
        np.concatenate([keys for keys, _ in runs]), np.concatenate([sums for _, sums in runs])
    )
    rows, columns = (keys // vocab_size).astype(np.int32), (keys % vocab_size).astype(np.int32)
    return rows, columns, np.where(rows == columns, 2 * sums, sums)


def _list_pairs(text: WordText, vocab_size: int, window: int) -> Iterator[tuple[Ints, Sums]]:
    """Keys and weights of the pairs whose first word is in a part, part by part."""
    chunk = np.repeat(np.arange(text.chunks), np.diff(text.begins))
    for begin in range(0, len(text), PART_WORDS):
        end = min(begin + PART_WORDS, len(text))
        keys, sums = [], []
        for distance in range(1, window + 1):
            first = np.arange(begin, min(end, len(text) - distance))
            first = first[chunk[first] == chunk[first + distance]]
            a, b = text.ids[first].astype(np.int64), text.ids[first + distance].astype(np.int64)
            keys.append(np.minimum(a, b) * vocab_size + np.maximum(a, b))
            sums.append(np.full(len(first), 1 / distance))
        yield np.concatenate(keys), np.concatenate(sums)


def _add_up(keys: Ints, sums: Sums) -> tuple[Ints, Sums]:
    """Each key once, in order."""
    unique, where = np.unique(keys, return_inverse=True)
    return unique, np.bincount(where, sums, len(unique)).astype(np.float64)
