"""What the C library's heap keeps of memory that was let go of: given back where it is much."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

# Bytes free in the heap. Every page costs a fault when it is taken again, 60 ms in all: nothing to
# a step that needs as much, and too much for the steps of a small model.
WORTH = 256 * 2**20


class _Counts(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 (man 3 mallinfo)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


@cache
def _library() -> Any:
    """The C library, where it is one that can be asked; else None."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2") or not hasattr(library, "malloc_trim"):
        return None
    library.mallinfo2.restype = _Counts
    return library


def count_free() -> int:
    """Bytes that the heap holds and nobody uses; 0 where the library does not say."""
    library = _library()
    return 0 if library is None else int(library.mallinfo2().fordblks)


def trim_heap(worth: int | None = None) -> None:
    """Between two phases that use memory of different sizes, such as a step and the sampling of the
    next batch: the second would come on top of the holes that the first has left.

    worth: bytes free in the heap from which on they are given back; WORTH by default.
    """
    if count_free() >= (WORTH if worth is None else worth):
        _library().malloc_trim(0)
