"""Where EM begins: k-means++, a few steps of k-means, and the best of several such starts.

Arthur & Vassilvitskii 2007, §2.2. Of a large data set some of the points are enough to begin from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_POINTS = 20_000  # that a start looks at: every component of 64 has some 300 of them
LLOYD_STEPS = 20


def choose_points(x: Tensor, weight: Tensor | None, generator: torch.Generator) -> Tensor:
    """At most `MOST_POINTS`, in proportion to their weights, for a start.  [N, D] -> [n, D]"""
    if weight is None and len(x) <= MOST_POINTS:
        return x
    if weight is None:
        return x[torch.randperm(len(x), generator=generator)[:MOST_POINTS]]
    share = (weight / weight.sum()).cumsum(0)
    points = min(MOST_POINTS, max(len(x), 1))
    place = (torch.arange(points) + torch.rand(1, generator=generator).double()) / points
    return x[torch.searchsorted(share, place).clamp_max(len(x) - 1)]


def fill_with_means(x: Tensor) -> Tensor:
    """Missing values become their column's mean, to begin from.  [N, D] -> [N, D]"""
    return torch.where(x.isnan(), x.nanmean(0), x) if bool(x.isnan().any()) else x


def spread_out(x: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is a point drawn in proportion to its squared distance from the
    nearest one chosen, the best of a few such draws.  [N, D] -> [K, D]
    """
    tries = 2 + int(math.log(K))
    first = int(torch.randint(len(x), (1,), generator=generator))
    centres = [x[first]]
    nearest = (x - x[first]).square().sum(1)
    square = x.square().sum(1)
    for _ in range(1, K):
        if not float(nearest.sum()) > 0:  # fewer different points than centres
            drawn = torch.randint(len(x), (tries,), generator=generator)
        else:
            places = torch.rand(tries, generator=generator, dtype=x.dtype) * nearest.sum()
            drawn = torch.searchsorted(nearest.cumsum(0), places).clamp_max(len(x) - 1)
        apart = square[:, None] - 2 * x @ x[drawn].T + square[drawn]
        closer = torch.minimum(apart.clamp_min(0), nearest[:, None])  # [N, tries]
        best = int(closer.sum(0).argmin())
        centres.append(x[drawn[best]])
        nearest = closer[:, best]
    return torch.stack(centres)


def assign(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre.  [N, D], [K, D] -> [N]"""
    return (x @ centres.T - 0.5 * centres.square().sum(1)).argmax(1)


def begin_centres(x: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """k-means++ and a few steps of k-means; a cluster that loses its points keeps its centre.
    [N, D] -> [K, D]
    """
    centres = spread_out(x, K, generator)
    for _ in range(LLOYD_STEPS):
        nearest = assign(x, centres)
        count = torch.bincount(nearest, minlength=K).to(x.dtype)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        moved = torch.where(count[:, None] > 0, sums / count.clamp_min(1)[:, None], centres)
        if bool((moved == centres).all()):
            break
        centres = moved
    return centres
