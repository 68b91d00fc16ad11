"""The library of C in `csrc/`, or none: sequences of actions followed in an ensemble, and the
losses of DQN and SAC.
"""

from __future__ import annotations

from ctypes import c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from fledge.c_library import load_sources

SOURCES = Path(__file__).with_name("csrc")


@cache
def load_kernel() -> Any:
    """None where it cannot be had."""
    library = load_sources(SOURCES, "the C of planning and values", "torch's kernels do its work")
    if library is not None:
        library.follow_sequences.argtypes = [c_void_p, c_int64, c_int64]
        library.weigh_choices.argtypes = [c_void_p]
        for name in ("weigh_critics", "squash", "pull_actor"):
            getattr(library, name).argtypes = [c_void_p]
            getattr(library, name).restype = None
        library.choose_smaller.argtypes = [*[c_void_p] * 4, c_int64, c_double]
        library.choose_smaller.restype = None
    return library
