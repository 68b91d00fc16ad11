"""The engine's library of C, that of `csrc/`, compiled once for the machine at hand.

Without a compiler, on a processor without these instructions, or where torch is told not to use
them (ATEN_CPU_CAPABILITY=avx2), the engine multiplies by torch's own kernels.
"""

from __future__ import annotations

import os
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from fledge.c_library import load_sources
from fledge.team_library import has_wide_vectors

SOURCES = Path(__file__).with_name("csrc")
KINDS = {"fp32": 0, "fp16": 1, "bf16": 2, "int8": 3}


@cache
def load_native() -> Any:
    """The library, or None where it cannot be made or run. Where it is the cache folder or the
    compiler that fails, standard error says so, once.
    """
    if not has_wide_vectors():
        return None
    library = load_sources(SOURCES, "the engine's C library", "torch's kernels do its work")
    if library is None or not any(library.has_kind(kind) for kind in KINDS.values()):
        return None
    library.multiply.argtypes = [
        c_void_p, c_void_p, c_long, c_float, c_void_p, c_int, c_void_p, c_void_p, c_int,
    ]  # fmt: skip
    library.pack.argtypes = [
        c_int, c_int, c_int, c_long, c_long, c_void_p, c_void_p, c_void_p, c_void_p, c_int,
    ]  # fmt: skip
    library.attend.argtypes = [c_void_p]
    library.read_layers.argtypes = [c_void_p, c_void_p]
    library.draw.argtypes = [c_void_p, c_int]
    os.register_at_fork(after_in_child=library.begin_anew)
    return library


def has_native(kind: str) -> bool:
    """Whether weights of this kind, one of KINDS, are multiplied by the library here."""
    library = load_native()
    return library is not None and bool(library.has_kind(KINDS[kind]))
