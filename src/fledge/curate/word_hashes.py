"""The words of many texts as 64-bit numbers, computed over all their bytes at once: copies are
looked for among numbers.

A word is a run of letters and digits in lower case (beyond ASCII, whatever is no punctuation); a
number stands for it by a polynomial over its bytes, mixed as in splitmix64 (Steele et al. 2014).
Equal words have equal numbers; of a million different ones two are equal with probability 3 · 10⁻⁸.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.curate.run_kernel import hash_native, load_kernel

Hashes = NDArray[np.uint64]
_PRIME = np.uint64(0x100000001B3)
_LONGEST = 64  # bytes of a word that count each by its place
_IN_WORD = np.zeros(256, dtype=bool)
_IN_WORD[[*b"abcdefghijklmnopqrstuvwxyz0123456789"]] = True
_IN_WORD[128:] = True
_IS_LEAD = np.zeros(256, dtype=bool)
_IS_LEAD[[0xC2, 0xE2, 0xE3, 0xEF]] = True
_IS_WIDE = np.zeros((2, 256), dtype=bool)  # the last byte, after EF BC and EF BD
_IS_WIDE[0, [*range(0x81, 0x90), *range(0x9A, 0xA1), *range(0xBB, 0xC0)]] = True
_IS_WIDE[1, [0x80, *range(0x9B, 0xA6)]] = True
_POWERS = np.cumprod(np.full(_LONGEST, _PRIME, dtype=np.uint64))


@dataclass(frozen=True)
class WordHashes:
    """words: of all texts, one after the other.  [W]. starts, ends: the bytes of each in the
    lower-case texts joined by line feeds.  [W]. first: at which word each text begins, and the end.
    [texts + 1]
    """

    words: Hashes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]


def hash_words(texts: Sequence[str]) -> WordHashes:
    """All words of the texts."""
    parts = [encode(text) for text in texts]
    joined = b"\n".join([b"", *parts, b""])
    library = load_kernel()
    words, starts, ends = hash_plain(joined) if library is None else hash_native(library, joined)
    text_starts = np.cumsum([1, *(len(part) + 1 for part in parts)])
    return WordHashes(words, starts, ends, np.searchsorted(starts, text_starts))


def encode(text: str) -> bytes:
    """As its words are compared."""
    return lower(text).encode("utf-8", "surrogatepass")


def hash_plain(joined: bytes) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """As `hash_native`, by NumPy.  [W], [W], [W]"""
    letters = np.frombuffer(joined, dtype=np.uint8)
    inside = _find_letters(letters)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return np.zeros(0, dtype=np.uint64), starts, ends
    lengths = ends - starts
    places = np.minimum(
        np.arange(lengths.sum()) - np.repeat(_begin(lengths), lengths), _LONGEST - 1
    )
    values = (letters[inside].astype(np.uint64) + np.uint64(1)) * _POWERS[places]
    return mix(np.add.reduceat(values, _begin(lengths))), starts, ends


def _find_letters(joined: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bytes are of words. Beyond ASCII punctuation is told by UTF-8's first bytes: C2 (of
    Latin-1: « » ¿ …), E2 80 and E2 81 (quotation marks, dashes), E3 80 (of Chinese and Japanese),
    EF BC and EF BD (as wide as their letters).
    """
    inside = _IN_WORD[joined]
    leads = np.flatnonzero(_IS_LEAD[joined])
    first, second = joined[leads], joined[leads + 1]  # the last byte is a line feed
    short = first == 0xC2
    long = ((first == 0xE2) & (second <= 0x81)) | ((first == 0xE3) & (second == 0x80))
    wide = np.flatnonzero((first == 0xEF) & ((second == 0xBC) | (second == 0xBD)))
    long[wide] = _IS_WIDE[second[wide] - 0xBC, joined[leads[wide] + 2]]
    for after in range(3):
        inside[leads[short & (after < 2) | long] + after] = False
    return inside


def lower(text: str) -> str:
    """In lower case, with as many characters: a few letters have a longer small one."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def hash_runs(words: Hashes, length: int) -> Hashes:
    """Of every run of `length` words that follow each other.  [W] -> [W − length + 1]

    By doubling: a run of 2n words is two runs of n.
    """
    if len(words) < length:
        return words[:0]
    runs, covered = words, 1
    while 2 * covered <= length:
        runs, covered = _join(runs[: len(runs) - covered], runs[covered:]), 2 * covered
    if covered < length:  # two that overlap say the same as one
        rest = length - covered
        runs = _join(runs[: len(runs) - rest], runs[rest:])
    return runs


def _join(first: Hashes, second: Hashes) -> Hashes:
    return mix(first * np.uint64(0x9E3779B97F4A7C15) + second)


def mix(x: Hashes) -> Hashes:
    """The finaliser of splitmix64: every bit of the outcome depends on every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _begin(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths) - lengths
