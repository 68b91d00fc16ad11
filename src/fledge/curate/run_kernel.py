"""Words and runs of words by the C of `csrc/` where it can be compiled: a text in one pass, in
place of a hundred operations of NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import c_char_p, c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fledge.engine.native import load_sources

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


def judge_native(library: Any, joined: bytes, most: Mapping[int, float]) -> tuple[int, int, int]:
    """How many words the first run has that is more of the text than it may be, 0 for none; its
    characters, and those of all words. Raises MemoryError.
    """
    bounds = (c_double * (_LONGEST + 1))(*(most.get(n, 1.0) for n in range(_LONGEST + 1)))
    sizes = (c_int64 * 2)()
    length = library.judge_runs(joined, len(joined), bounds, sizes)
    if length < 0:
        raise MemoryError
    return length, sizes[0], sizes[1]
