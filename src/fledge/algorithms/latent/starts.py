"""Where EM begins: k-means++, a few steps of k-means, and the best of several such starts.

Arthur & Vassilvitskii 2007, §2.2. Of a large data set some of the points are enough to begin from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fledge.models.latent.coordinates import measure_moments
from fledge.rows.points import Points, from_array

MOST_POINTS = 20_000  # that a start looks at: every component of 64 has some 300 of them
LLOYD_STEPS = 20


def choose_points(x: Tensor, weight: Tensor | None, generator: torch.Generator) -> Points:
    """At most `MOST_POINTS` of them to begin from, each different one once, with its weight: so
    a point of weight 2 is two points.  [N, D] -> [n, D]
    """
    weight = x.new_ones(len(x)) if weight is None else weight
    if len(x) > MOST_POINTS:
        drawn = torch.randperm(len(x), generator=generator)[:MOST_POINTS]
        x, weight = x[drawn], weight[drawn]
    kept = weight > 0
    # NaN differs from NaN: points that lack a value stay as they are
    different, number = x[kept].unique(dim=0, return_inverse=True)
    total = torch.zeros(len(different), dtype=x.dtype).index_add_(0, number, weight[kept])
    return from_array(different, weight=total)


def fill_with_means(x: Tensor) -> Tensor:
    """Missing values become their column's mean, to begin from.  [N, D] -> [N, D]"""
    return torch.where(x.isnan(), x.nanmean(0), x) if bool(x.isnan().any()) else x


def measure_seen(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and covariance of points, of which values may be missing: by these a column would seem
    to vary less, and is stretched to the variance of what is seen of it.  [N, D] -> [D], [D, D]
    """
    seen = ~x.isnan()
    if bool(seen.all()):
        return measure_moments(x, weight)
    share = x.new_ones(len(x)) if weight is None else weight
    near = x.nanmean(0)
    total = share @ seen.to(x.dtype)
    mean = near + share @ torch.where(seen, x - near, 0.0) / total
    covariance = measure_moments(torch.where(seen, x, mean), weight)[1]
    stretch = (share.sum() / total).sqrt()
    return mean, covariance * stretch[:, None] * stretch


def spread_out(x: Tensor, weight: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is a point drawn in proportion to its squared distance from the
    nearest one chosen, the best of a few such draws.  [N, D], [N] -> [K, D]
    """
    tries = 2 + int(math.log(K))
    chosen = [draw(weight, 1, generator)]
    square = x.square().sum(1)
    nearest = (x - x[chosen[0]]).square().sum(1)
    for _ in range(1, K):
        apart = nearest * weight
        drawn = draw(apart if float(apart.sum()) > 0 else weight, tries, generator)
        distance = square[:, None] - 2 * x @ x[drawn].T + square[drawn]
        closer = torch.minimum(distance.clamp_min(0), nearest[:, None])  # [N, tries]
        best = int((weight @ closer).argmin())
        chosen.append(drawn[best : best + 1])
        nearest = closer[:, best]
    return x[torch.cat(chosen)]


def draw(share: Tensor, times: int, generator: torch.Generator) -> Tensor:
    """Numbers of points, each in proportion to its share.  [N] -> [times]"""
    places = torch.rand(times, generator=generator, dtype=share.dtype) * share.sum()
    return torch.searchsorted(share.cumsum(0), places).clamp_max(len(share) - 1)


def assign(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre.  [N, D], [K, D] -> [N]"""
    return (x @ centres.T - 0.5 * centres.square().sum(1)).argmax(1)


def begin_centres(x: Tensor, weight: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """k-means++ and a few steps of k-means; a cluster that loses its points keeps its centre.
    [N, D], [N] -> [K, D]
    """
    centres = spread_out(x, weight, K, generator)
    for _ in range(LLOYD_STEPS):
        nearest = assign(x, centres)
        count = torch.zeros(K, dtype=x.dtype).index_add_(0, nearest, weight)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x * weight[:, None])
        moved = torch.where(count[:, None] > 0, sums / count.clamp_min(1e-300)[:, None], centres)
        if bool((moved == centres).all()):
            break
        centres = moved
    return centres
