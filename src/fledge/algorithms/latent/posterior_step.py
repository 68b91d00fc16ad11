"""The posterior of a Bayesian mixture that is best for given sums of the data, and the bound that
it comes to, term by term. Bishop 2006, §10.2.1–10.2.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.latent.bayesian_mixture import (
    BayesianMixture,
    MixturePrior,
    expected_log_density,
)
from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.mixture_divergence import component_divergence, weight_divergence
from fledge.models.latent.moments import Moments


def update_posterior(
    prior: MixturePrior, coordinates: Coordinates, moments: Moments, share: float = 1.0
) -> BayesianMixture:
    """The best q(θ) for these sums, taken `share` times (Bishop 2006, eqs. 10.58–10.63)."""
    R, N = coordinates.inverse, share * moments.count
    apart = moments.first / moments.count.clamp_min(1e-300)[:, None]
    mean = coordinates.centre + (moments.centre + apart) @ R.T
    away = mean - prior.mean
    precision = prior.mean_precision + N
    pull = prior.mean_precision * N / precision
    if prior.kind == "full":
        scatter = moments.second - moments.first[:, :, None] * apart[:, None, :]
        spread = R @ (share * (scatter + scatter.mT) / 2) @ R.T
        scale = prior.scale + spread + pull[:, None, None] * away[:, :, None] * away[:, None, :]
    else:
        scatter = (moments.second - moments.first * apart).clamp_min(0)
        spread = share * scatter * R.diagonal().square()
        scale = prior.scale + spread + pull[:, None] * away.square()
    return BayesianMixture(
        prior, update_weights(prior, N), precision,
        (prior.mean_precision * prior.mean + N[:, None] * mean) / precision[:, None],
        prior.degrees + N, scale,
    )  # fmt: skip


def update_weights(prior: MixturePrior, count: Tensor) -> Tensor:
    """`BayesianMixture.concentration`.  count: points of each component [K]"""
    if prior.weights == "dirichlet":
        return prior.concentration + count
    after = count.flip(0).cumsum(0).flip(0) - count  # the points of later components
    return torch.stack([1 + count, prior.concentration + after.clamp_min(0)], 1)


def measure_terms(
    q: BayesianMixture, moments: Moments, density: float, of: int = 1
) -> dict[str, float]:
    """The bound and what it is made of, in nats, a block's terms scaled to all points.

    moments, density: of a pass under the best q(z) for q. of: how many blocks there are.
    """
    assignment = of * float(moments.count @ q.expect_log_weight())
    entropy = of * moments.entropy
    data = of * density - assignment - entropy
    weights, components = -weight_divergence(q), -component_divergence(q)
    return {
        "elbo": of * density + weights + components,
        "elbo_data": data, "elbo_assignments": assignment, "elbo_entropy": entropy,
        "elbo_weights": weights, "elbo_components": components,
    }  # fmt: skip


def bound_of_sums(q: BayesianMixture, coordinates: Coordinates, moments: Moments) -> float:
    """The bound for any q(θ) and the q(z) that these sums are of, in nats: by it a bound taken
    after q(θ) has moved is known too.
    """
    A, R = coordinates.matrix, coordinates.inverse
    about = moments.move((q.mean - coordinates.centre) @ A.T).second
    about = R @ about @ R.T if q.kind == "full" else about * R.diagonal().square()
    data = expected_log_density(q, about, moments.count)
    assignment = float(moments.count @ q.expect_log_weight())
    divergence = weight_divergence(q) + component_divergence(q)
    return data + assignment + moments.entropy - divergence
