"""Libraries of C that stand for operations of torch's, and compute on torch's own threads, where
the processor has AVX-512.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import CDLL, c_int, c_void_p, cast
from pathlib import Path
from typing import Any

import torch

from fledge.c_library import load_sources


def has_wide_vectors() -> bool:
    """Whether torch computes by AVX-512 here: it may be told not to (ATEN_CPU_CAPABILITY=avx2)."""
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")


def load_team_library(folder: Path, name: str, functions: Sequence[str]) -> Any:
    """The library of a folder, as `load_sources` has it, or None; functions: that take a structure
    and how many threads.
    """
    if not has_wide_vectors():
        return None
    library = load_sources(folder, name, "torch's kernels do its work")
    if library is None:
        return None
    for function in functions:
        getattr(library, function).argtypes = [c_void_p, c_int]
        getattr(library, function).restype = None
    library.use_team.argtypes = [c_void_p]
    library.use_team(_find_team())
    os.register_at_fork(after_in_child=library.begin_anew)
    return library


def _find_team() -> int | None:
    """Where GOMP_parallel is of the one OpenMP of GNU's in this process, by which torch computes on
    Linux; None where there is none, or two, of which there is no telling which.
    """
    try:
        lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
        places = {line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line}
        if len(places) != 1:
            return None
        return cast(CDLL(places.pop()).GOMP_parallel, c_void_p).value
    except (OSError, AttributeError):
        return None
