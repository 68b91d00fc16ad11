"""A Huffman tree over words, as hierarchical softmax walks it (Morin & Bengio 2005; Mikolov et al.
2013): frequent words stand near the root, so that a step costs the logarithm of the vocabulary.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Codes:
    """The inner nodes on the way from the root to each word, and which way it goes at each.

    begins: where the way of each word begins, [V + 1]. nodes: numbers below V − 1, int32 [S].
    labels: 1 where the word is on the left, uint8 [S].
    """

    begins: NDArray[np.int64]
    nodes: NDArray[np.int32]
    labels: NDArray[np.uint8]


def build_codes(counts: Sequence[int]) -> Codes:
    """Of V words, 2 or more."""
    V = len(counts)
    waiting = [(int(count), leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(waiting)
    parent = np.zeros(2 * V - 1, np.int64)
    left = np.zeros(2 * V - 1, np.uint8)
    for node in range(V, 2 * V - 1):
        (rare, a), (other, b) = heapq.heappop(waiting), heapq.heappop(waiting)
        parent[a] = parent[b] = node
        left[a] = 1
        heapq.heappush(waiting, (rare + other, node))
    root = 2 * V - 2
    begins, nodes, labels = [0], [], []
    for leaf in range(V):
        at, way = leaf, []
        while at != root:
            way.append((parent[at] - V, left[at]))
            at = parent[at]
        nodes += [node for node, _ in reversed(way)]
        labels += [label for _, label in reversed(way)]
        begins.append(len(nodes))
    return Codes(np.array(begins), np.array(nodes, np.int32), np.array(labels, np.uint8))
