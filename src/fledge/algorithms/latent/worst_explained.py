"""An empty component begins anew at the point that the others explain worst, if the likelihood
gains by it.
"""

from __future__ import annotations

import torch

from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.rows.points import Points

TRIES = 2  # a component: more would only repeat what did not help


def reseed(
    mixture: GaussianMixture, points: Points, made: int, empty: float
) -> tuple[GaussianMixture, int]:
    """The mixture with one empty component moved, and how many were: 0 or 1.

    made: how often it was done before. empty: the points, by weight, below which a component is.
    The moved one has the weight of one point and the pooled covariance.
    """
    total = points.total
    k = int(mixture.weight.argmin())
    if mixture.components == 1 or made >= TRIES * mixture.components:
        return mixture, 0
    if float(mixture.weight[k]) * total >= empty * min(1.0, total):
        return mixture, 0
    before = mixture.log_prob(points.x)
    counts = before if points.weight is None else before.where(points.weight > 0, torch.inf)
    worst = points.x[int(counts.argmin())]
    one = min(0.5, 1 / max(total, 1.0))
    weight = mixture.weight.clone()
    weight[k] = 0
    weight = weight / weight.sum() * (1 - one)
    weight[k] = one
    mean = mixture.mean.clone()
    mean[k] = torch.where(worst.isnan(), mean[k], worst)
    covariance = mixture.covariance.clone()
    if mixture.kind != "tied":
        covariance[k] = torch.tensordot(mixture.weight, mixture.covariance, 1)
    moved = GaussianMixture(mixture.kind, weight, mean, covariance)
    gain = moved.log_prob(points.x) - before
    if points.weight is not None:
        gain = gain * points.weight
    return (moved, 1) if float(gain.sum()) > 0 else (mixture, 0)
