"""Character n-grams of a word, hashed into a fixed number of rows (Bojanowski et al. 2017): so that
words which are written alike share what they learn, and one never seen has a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


def hash_fnv(data: bytes) -> int:
    """FNV-1a, 32 bits, each byte with its sign, as fastText has it
    (https://github.com/facebookresearch/fastText, `Dictionary::hash`).
    """
    h = _FNV_OFFSET
    for byte in data:
        h = ((h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _FNV_PRIME) & 0xFFFFFFFF
    return h


@dataclass(frozen=True)
class Subwords:
    """n-grams of `shortest` to `longest` characters of <word>, with its two brackets, in `buckets`
    rows.
    """

    shortest: int
    longest: int
    buckets: int

    def list_ngrams(self, word: str) -> list[str]:
        """In the order of where they begin; a bracket alone is none."""
        whole = f"<{word}>"
        return [
            whole[begin : begin + length]
            for begin in range(len(whole))
            for length in range(self.shortest, self.longest + 1)
            if begin + length <= len(whole)
            and not (length == 1 and (begin == 0 or begin + length == len(whole)))
        ]

    def hash(self, word: str) -> list[int]:
        """The bucket of each of its n-grams."""
        return [hash_fnv(ngram.encode()) % self.buckets for ngram in self.list_ngrams(word)]

    def list_rows(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Of a table that has a row for each word, and then the buckets: where the rows of each
        word begin, [V + 1], and all of them one after the other, the word's own first.
        """
        rows: list[int] = []
        begins = [0]
        for place, word in enumerate(words):
            rows.append(place)
            rows += [len(words) + bucket for bucket in self.hash(word)]
            begins.append(len(rows))
        return np.array(begins, np.int64), np.array(rows, np.int32)
