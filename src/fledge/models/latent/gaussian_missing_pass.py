"""The pass of a mixture of normals over points that lack values: what is not seen is expected,
given what is, one pattern of missing values at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import LOG_2PI, GaussianMixture
from fledge.models.latent.missing_values import complete, each_pattern
from fledge.models.latent.moments import Moments

BLOCK = 65_536  # points whose responsibilities are held at a time


def fill_missing(
    coordinates: Coordinates,
    mixture: GaussianMixture,
    x: Tensor,
    weight: Tensor | None,
    log_weight: Tensor | None = None,
) -> tuple[Moments, float]:
    """The sums of `GaussianPass.run` where values are missing: what is not seen is expected under
    each component (Ghahramani & Jordan 1994), exactly, a pattern of missing values at a time.

    log_weight: of components [K], in place of the mixture's own; they need not sum to 1.
    """
    log_weight = mixture.weight.log() if log_weight is None else log_weight
    whole: Moments | None = None
    density = 0.0
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        joint = mixture.log_density(part) + log_weight
        log_p = joint.logsumexp(1)
        r = (joint - log_p[:, None]).exp()
        entropy = -torch.special.xlogy(r, r).sum(1)
        if weight is not None:
            w = weight[start : start + BLOCK]
            r, log_p, entropy = r * w[:, None], log_p * w, entropy * w
        sums = sum_missing(coordinates, mixture, part, r)
        sums = replace(sums, entropy=sums.entropy + float(entropy.sum()))
        whole = sums if whole is None else whole.mix(sums, 1.0, 1.0)
        density += float(log_p.sum())
    assert whole is not None
    return whole, density


def sum_missing(
    coordinates: Coordinates, mixture: GaussianMixture, x: Tensor, share: Tensor
) -> Moments:
    """The sums where points are of components by known shares [N, K]; their entropy is that of the
    missing values alone.
    """
    A, centre = coordinates.matrix, coordinates.centre
    K, D = mixture.mean.shape
    covariance, matrices = mixture.expand(), mixture.has_matrices
    count, first = torch.zeros(K, dtype=x.dtype), torch.zeros(K, D, dtype=x.dtype)
    second = torch.zeros(K, D, D, dtype=x.dtype) if matrices else torch.zeros_like(first)
    about = (mixture.mean - centre) @ A.T  # each component's own mean: no digits are lost
    entropy = 0.0
    for rows, seen in each_pattern(x):
        part = x[rows]
        for k in range(K):
            own = covariance[k] if matrices else torch.diag(covariance[k])
            filled, spread = complete(part, seen, mixture.mean[k], own)
            y, r = (filled - mixture.mean[k]) @ A.T, share[rows, k]
            count[k] += r.sum()
            first[k] += r @ y
            left = r.sum() * (A @ spread @ A.T)
            entropy += float(r.sum()) * normal_entropy(spread, ~seen)
            if matrices:
                second[k] += (y * r[:, None]).T @ y + left
            else:
                second[k] += r @ y.square() + left.diagonal()
    moments = Moments(count, first, second, about, entropy)
    return moments.as_tied() if mixture.kind == "tied" else moments


def normal_entropy(covariance: Tensor, which: Tensor) -> float:
    """½ log |2πe Σ| of some of the coordinates, in nats.  [D, D], [D] of bool"""
    lost = int(which.sum())
    log_det = float(torch.logdet(covariance[which][:, which])) if lost else 0.0
    return 0.5 * (lost * (1 + LOG_2PI) + log_det)
