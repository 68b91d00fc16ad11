"""Ink made one pixel thin, connected as it was: the skeleton of a drawing.

Two sub-iterations by turns, each deleting at once all pixels that a table of the 256 neighbourhoods
lets go (Guo & Hall 1989, "Parallel thinning with two-subiteration algorithms", algorithm A1).
"""

from __future__ import annotations

from functools import cache

import numpy as np

# The eight neighbours, clockwise from the one above: p2 … p9 of the paper, as (row, column).
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def thin(ink: np.ndarray) -> np.ndarray:
    """[…, H, W] bool -> the same, with nothing left that could go."""
    ink = np.pad(ink.astype(bool), [(0, 0)] * (ink.ndim - 2) + [(1, 1), (1, 1)])
    first, second = list_deletable()
    changed = True
    while changed:
        changed = False
        for table in (first, second):
            gone = ink & table[read_neighbours(ink)]
            changed = changed or bool(gone.any())
            ink = ink & ~gone
    return ink[..., 1:-1, 1:-1]


def read_neighbours(ink: np.ndarray) -> np.ndarray:
    """Bit k of a pixel's number is its k-th neighbour in `AROUND`; the outermost pixels are taken
    to have neighbours on the other side.  […, H, W] bool -> uint8
    """
    code = np.zeros(ink.shape, np.uint8)
    for k, (down, right) in enumerate(AROUND):
        code |= np.roll(ink, (-down, -right), (-2, -1)).astype(np.uint8) << k
    return code


@cache
def list_deletable() -> tuple[np.ndarray, np.ndarray]:
    """Of each neighbourhood whether its pixel goes, in the first and the second sub-iteration.
    -> [256] bool twice
    """
    tables = np.zeros((2, 256), bool)
    for code in range(256):
        p = [bool(code >> k & 1) for k in range(8)]
        pairs = [(p[k], p[(k + 1) % 8], p[(k + 2) % 8]) for k in (0, 2, 4, 6)]
        crossings = sum(not a and (b or c) for a, b, c in pairs)  # C(p): ink that would be cut
        one = sum(p[k - 1] or p[k] for k in (0, 2, 4, 6))
        other = sum(p[k] or p[k + 1] for k in (0, 2, 4, 6))
        within = crossings == 1 and 2 <= min(one, other) <= 3
        north, northeast, east, southeast, south, southwest, west, northwest = p
        tables[0, code] = within and not ((north or northeast or not southeast) and east)
        tables[1, code] = within and not ((south or southwest or not northwest) and west)
    return tables[0], tables[1]
