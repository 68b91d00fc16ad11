"""Every row of few numbers of few levels, and every tree over few nodes: what a density of pictures
is held against.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def every_row(length: int, levels: int) -> Tensor:
    """[L^D, D] int64, in the order of counting."""
    return torch.tensor(list(itertools.product(range(levels), repeat=length)))


def every_tree(nodes: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """The edges of each of the n^(n−2) trees (Cayley 1889), by their sequences (Prüfer 1918)."""
    if nodes == 2:
        yield ((0, 1),)
        return
    for sequence in itertools.product(range(nodes), repeat=nodes - 2):
        degree = [1 + sequence.count(node) for node in range(nodes)]
        edges: list[tuple[int, int]] = []
        for node in sequence:
            leaf = degree.index(1)
            edges.append((min(leaf, node), max(leaf, node)))
            degree[leaf] -= 1
            degree[node] -= 1
        a, b = (node for node in range(nodes) if degree[node] == 1)
        yield (*edges, (a, b))


def log_likelihood_of_tree(
    rows: Sequence[Sequence[int]], edges: Sequence[tuple[int, int]]
) -> float:
    """The greatest there is of Σ_rows log p(row), p factoring by the tree: Σ over edges of N(i, j)
    log share(i, j), less Σ over nodes of (degree − 1) N(i) log share(i).
    """
    total = 0.0
    degree = Counter(node for edge in edges for node in edge)
    for a, b in edges:
        both = Counter((row[a], row[b]) for row in rows)
        total += sum(n * math.log(n / len(rows)) for n in both.values())
    for node, its in degree.items():
        alone = Counter(row[node] for row in rows)
        total -= (its - 1) * sum(n * math.log(n / len(rows)) for n in alone.values())
    return total
