"""An empty component begins anew at the point that the others explain worst, if the likelihood
gains by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.rows.points import Points

SHARES = (1.0, 0.1, 0.01, 0.001)  # of the pooled covariance
TRIES = 2  # a component: more would only repeat what did not help


def reseed(
    mixture: GaussianMixture,
    points: Points,
    made: int,
    empty: float,
    lift: Callable[[Tensor], Tensor],
) -> tuple[GaussianMixture, int]:
    """The mixture with one empty component moved, and how many were: 0 or 1.

    made: how often it was done before. empty: the points, by weight, below which a component is.
    lift: a covariance to the floor.
    The moved one has the weight of one point and the pooled
    covariance, or the largest share of it by which the likelihood gains: the smallest would stay
    with the one point.
    """
    total = points.total
    k = int(mixture.weight.argmin())
    if mixture.components == 1 or made >= TRIES * mixture.components:
        return mixture, 0
    if float(mixture.weight[k]) * total >= empty * min(1.0, total):
        return mixture, 0
    before = mixture.log_prob(points.x)
    present = before if points.weight is None else before.where(points.weight > 0, torch.inf)
    worst = points.x[int(present.argmin())]
    one = min(0.5, 1 / max(total, 1.0))
    weight = mixture.weight.clone()
    weight[k] = 0
    weight *= (1 - one) / weight.sum()
    others = replace(mixture, weight=weight).log_prob(points.x)
    weight[k] = one
    mean = mixture.mean.clone()
    mean[k] = torch.where(worst.isnan(), mean[k], worst)
    pooled = mixture.covariance
    if mixture.kind != "tied":
        pooled = torch.tensordot(mixture.weight, mixture.covariance, 1)
    for share in SHARES if mixture.kind != "tied" else SHARES[:1]:
        covariance = pooled * share
        if mixture.kind != "tied":
            covariance = mixture.covariance.clone()
            covariance[k] = lift(pooled * share)
        moved = GaussianMixture(mixture.kind, weight, mean, covariance)
        gain = torch.logaddexp(others, _log_density(moved, k, points.x)) - before
        if float(gain.sum() if points.weight is None else gain @ points.weight) > 0:
            return moved, 1
    return mixture, 0


def _log_density(mixture: GaussianMixture, k: int, x: Tensor) -> Tensor:
    """log π_k N(x; μ_k, Σ_k).  [N, D] -> [N]"""
    covariance = mixture.covariance if mixture.kind == "tied" else mixture.covariance[k : k + 1]
    alone = GaussianMixture(
        mixture.kind, mixture.weight[k : k + 1], mixture.mean[k : k + 1], covariance
    )
    return alone.log_prob(x)
