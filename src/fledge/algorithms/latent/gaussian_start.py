"""First sums for EM of a mixture of normals: of the clusters of k-means, of points at random, of
known labels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.algorithms.latent.starts import assign, begin_centres, draw, fill_with_means
from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import Kind
from fledge.models.latent.moments import Moments
from fledge.rows.points import Points


def begin_at_clusters(
    points: Points, coordinates: Coordinates, kind: Kind, K: int, generator: torch.Generator
) -> Moments:
    """k-means' clusters, every point of its nearest centre alone. The columns count by their
    spread.
    """
    assert points.weight is not None
    apart = fill_with_means(points.x) - coordinates.centre
    scaled = apart / coordinates.inverse.square().sum(1).sqrt()
    centres = begin_centres(scaled, points.weight, K, generator)
    z, nearest = apart @ coordinates.matrix.T, assign(scaled, centres)
    return sum_by_label(z, nearest, K, kind, points.weight)


def begin_at_points(
    points: Points, coordinates: Coordinates, kind: Kind, K: int, generator: torch.Generator
) -> Moments:
    """Components of equal weight at points drawn at random, each with the covariance of the
    data.
    """
    assert points.weight is not None
    drawn = draw(points.weight, K, generator)
    apart = fill_with_means(points.x)[drawn] - coordinates.centre
    z, D = apart @ coordinates.matrix.T, points.width
    wide = torch.eye(D, dtype=z.dtype).expand(K, D, D).clone()
    second = {"full": wide, "tied": wide.sum(0)}.get(kind, torch.ones_like(z))
    one, none = torch.ones(K, dtype=z.dtype), torch.zeros_like(z)
    return Moments(one, none, second, z, 0.0)


def sum_by_label(
    z: Tensor, label: Tensor, K: int, kind: Kind, weight: Tensor | None = None
) -> Moments:
    """Moments of points whose component is known, about each component's own mean.  [N, D], [N]"""
    D = z.shape[1]
    w = z.new_ones(len(z)) if weight is None else weight
    count = torch.zeros(K, dtype=z.dtype).index_add_(0, label, w)
    centre = torch.zeros(K, D, dtype=z.dtype).index_add_(0, label, z * w[:, None])
    centre /= torch.where(count > 0, count, 1.0)[:, None]
    first = torch.zeros_like(centre)
    matrices = kind in ("full", "tied")
    second = torch.zeros(K, D, D, dtype=z.dtype) if matrices else torch.zeros_like(centre)
    for k in range(K):
        apart, own = z[label == k] - centre[k], w[label == k]
        first[k] = own @ apart
        second[k] = (apart * own[:, None]).T @ apart if matrices else own @ apart.square()
    moments = Moments(count, first, second, centre, 0.0)
    return moments.as_tied() if kind == "tied" else moments
