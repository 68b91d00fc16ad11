"""Memory that was let go of in the middle of the heap is given back where it is much, and none that
is in use.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from fledge.heap import _library

# 200 MB in pieces of 64 kB, every second one let go of: holes, none of which is at the heap's end.
CHILD = """
import ctypes
from pathlib import Path
from fledge import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
pieces = [library.malloc(65536) for _ in range(3200)]
for i, piece in enumerate(pieces):
    ctypes.memset(piece, i % 251, 65536)
for piece in pieces[::2]:
    library.free(piece)
before, free = resident(), heap.count_free()
heap.trim_heap()
unchanged = before - resident() < 10_000_000
heap.WORTH = 2**26
heap.trim_heap()
given = before - resident()
kept = all(ctypes.string_at(p, 65536) == bytes([(2 * i + 1) % 251]) * 65536
           for i, p in enumerate(pieces[1::2]))
print(2**26 < free < 2**28, unchanged, given > 50_000_000, kept)
"""


@pytest.mark.skipif(_library() is None, reason="the C library does not say what its heap holds")
def test_holes_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
