"""Words and runs of words by the C of `csrc/` where it can be compiled: a text in one pass, in
place of a hundred operations of NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from ctypes import Array, c_char_p, c_double, c_int, c_int64, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fledge.c_library import load_sources

SOURCES = Path(__file__).with_name("csrc")
_LONGEST = 10  # words of a run that is judged


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had."""
    library = load_sources(SOURCES, "the C of curation", "NumPy does its work")
    if library is not None:
        library.hash_words.argtypes = [c_char_p, c_int64, c_void_p, c_void_p, c_void_p]
        library.hash_words.restype = c_int64
        library.judge_runs.argtypes = [c_char_p, c_int64, c_void_p, c_void_p]
        library.judge_runs.restype = c_int
        library.count_words.argtypes = [c_char_p, c_int64, c_void_p, c_int64, c_void_p]
        library.count_words.restype = None
    return library


def hash_native(
    library: Any, joined: bytes
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """The words of what begins and ends with a line feed, and the bytes of each.  [W], [W], [W]"""
    most = len(joined) // 2 + 1
    words, places = np.empty(most, dtype=np.uint64), np.empty((2, most), dtype=np.int64)
    number = library.hash_words(
        joined, len(joined), words.ctypes.data, places[0].ctypes.data, places[1].ctypes.data
    )
    return words[:number], places[0, :number], places[1, :number]


def count_native(library: Any, text: bytes, common: Array[c_uint32]) -> tuple[int, ...]:
    """Words, their characters, those with a letter of ASCII, how many of the common ones there are,
    and whether a letter beyond ASCII may have a small one. common: as `pack_words`.
    """
    counts = (c_int64 * 5)()
    library.count_words(text, len(text), common, len(common), counts)
    return tuple(counts)


def pack_words(words: Iterable[str]) -> Array[c_uint32]:
    """As C compares them: at most 64, of at most four bytes each."""
    packed = [int.from_bytes(word.encode().ljust(4, b"\0"), sys.byteorder) for word in words]
    return (c_uint32 * len(packed))(*packed)


def judge_native(library: Any, joined: bytes, most: Array[c_double]) -> tuple[int, int, int]:
    """How many words the first run has that is more of the text than it may be, 0 for none; its
    characters, and those of all words. most: as `pack_bounds`. Raises MemoryError.
    """
    sizes = (c_int64 * 2)()
    length = library.judge_runs(joined, len(joined), most, sizes)
    if length < 0:
        raise MemoryError
    return length, sizes[0], sizes[1]


def pack_bounds(most: Mapping[int, float]) -> Array[c_double]:
    """By the length of a run."""
    bounds = [most.get(n, 1.0) for n in range(_LONGEST + 1)]
    return (c_double * len(bounds))(*bounds)
