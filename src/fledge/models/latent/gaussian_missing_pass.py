"""The pass of a mixture of normals over points that lack values: what is not seen is expected,
given what is, one pattern of missing values at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import LOG_2PI, GaussianMixture
from fledge.models.latent.missing_values import complete, each_pattern
from fledge.models.latent.moments import Moments


def fill_missing(
    coordinates: Coordinates, mixture: GaussianMixture, x: Tensor, weight: Tensor | None
) -> tuple[Moments, float]:
    """The sums of `GaussianPass.run` where values are missing: what is not seen is expected under
    each component (Ghahramani & Jordan 1994), exactly, a pattern of missing values at a time.
    """
    A, centre = coordinates.matrix, coordinates.centre
    K, D = mixture.mean.shape
    covariance, matrices = mixture.expand(), mixture.has_matrices
    count, first = torch.zeros(K, dtype=x.dtype), torch.zeros(K, D, dtype=x.dtype)
    second = torch.zeros(K, D, D, dtype=x.dtype) if matrices else torch.zeros_like(first)
    about = (mixture.mean - centre) @ A.T  # each component's own mean: no digits are lost
    density, entropy = 0.0, 0.0
    for rows, seen in each_pattern(x):
        part = x[rows]
        joint = mixture.log_joint(part)
        log_p = joint.logsumexp(1)
        r = (joint - log_p[:, None]).exp()
        w = x.new_ones(len(rows)) if weight is None else weight[rows]
        density += float(log_p @ w)
        entropy -= float((torch.special.xlogy(r, r).sum(1)) @ w)
        for k in range(K):
            own = covariance[k] if matrices else torch.diag(covariance[k])
            filled, spread = complete(part, seen, mixture.mean[k], own)
            y = (filled - mixture.mean[k]) @ A.T
            share = r[:, k] * w
            count[k] += share.sum()
            first[k] += share @ y
            left = share.sum() * (A @ spread @ A.T)
            entropy += float(share.sum()) * normal_entropy(spread, ~seen)
            if matrices:
                second[k] += (y * share[:, None]).T @ y + left
            else:
                second[k] += share @ y.square() + left.diagonal()
    if mixture.kind == "tied":
        return Moments(count, first, second, about, entropy).as_tied(), density
    return Moments(count, first, second, about, entropy), density


def normal_entropy(covariance: Tensor, which: Tensor) -> float:
    """½ log |2πe Σ| of some of the coordinates, in nats.  [D, D], [D] of bool"""
    lost = int(which.sum())
    log_det = float(torch.logdet(covariance[which][:, which])) if lost else 0.0
    return 0.5 * (lost * (1 + LOG_2PI) + log_det)
