"""A binary tree of sums over many numbers: one is changed, or drawn in proportion to its size, in
log₂ n steps (Schaul et al. 2016, B.2.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Numbers = NDArray[np.float64]


class SumTree:
    """n numbers ≥ 0, all 0 at first. Every sum is made anew from its two parts, so that rounding
    errors never add up.

    Node 1 is the sum of all; node i has the parts 2i and 2i + 1; number j is node `width` + j.
    float64, 16 bytes for each number, up to 32 where n is just above a power of two.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.depth = max(1, (size - 1).bit_length())
        self.width = 1 << self.depth
        self.nodes = np.zeros(2 * self.width)

    @property
    def numbers(self) -> Numbers:
        """All of them, as they stand.  [n]"""
        return self.nodes[self.width : self.width + self.size]

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def set(self, place: Indices, number: Numbers | float) -> None:
        """What stands at these places from now on; where a place is named twice, the last counts.
        [N], [N]
        """
        node = place + self.width
        self.nodes[node] = number
        for _ in range(self.depth):
            node = node >> 1
            left = node << 1
            self.nodes[node] = self.nodes.take(left) + self.nodes.take(left + 1)

    def find(self, mass: Numbers) -> Indices:
        """Where the running sum over the numbers passes each mass, 0 ≤ mass < total: never at a
        number that is 0.  [N] -> [N]
        """
        node, left_over = np.ones(len(mass), dtype=np.int64), mass.copy()
        for _ in range(self.depth):
            node <<= 1
            left = self.nodes.take(node)
            # A mass that rounding has brought up to the total would otherwise walk off into numbers
            # that are 0.
            right = (left_over >= left) & (self.nodes.take(node + 1) > 0)
            left_over -= left * right
            node += right
        return node - self.width

    def load(self, numbers: Numbers) -> None:
        """All numbers at once, [n]: the sums are the same bits as if each had been set alone."""
        self.nodes[:] = 0.0
        self.numbers[:] = numbers
        for level in reversed(range(self.depth)):
            first = 1 << level
            below = self.nodes[2 * first : 4 * first]
            self.nodes[first : 2 * first] = below[0::2] + below[1::2]
