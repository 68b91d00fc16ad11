"""How far the posterior of a Bayesian mixture is from its prior: KL(q(θ) ‖ p(θ)), part by part, in
nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fledge.models.latent.bayesian_mixture import BayesianMixture


def weight_divergence(posterior: BayesianMixture) -> float:
    """KL between two Dirichlets, or, stick by stick, between two betas."""
    K, prior = posterior.components, posterior.prior
    if prior.weights == "dirichlet":
        first = torch.full((1, K), prior.concentration, dtype=torch.float64)
        return float(dirichlet_divergence(posterior.concentration[None], first).sum())
    first = torch.tensor([1.0, prior.concentration], dtype=torch.float64).expand(K, 2)
    return float(dirichlet_divergence(posterior.concentration, first).sum())


def dirichlet_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(Dirichlet(a) ‖ Dirichlet(b)).  [n, K], [n, K] -> [n]"""
    spread = torch.digamma(a) - torch.digamma(a.sum(1, keepdim=True))
    return _log_norm(b) - _log_norm(a) + ((a - b) * spread).sum(1)


def _log_norm(a: Tensor) -> Tensor:
    return torch.lgamma(a).sum(1) - torch.lgamma(a.sum(1))


def component_divergence(posterior: BayesianMixture) -> float:
    """KL between normal–Wisharts, summed over components: of means given precisions, and of
    precisions.
    """
    q, p, D = posterior, posterior.prior, posterior.width
    apart = q.mean - p.mean
    if q.kind == "full":
        solved = torch.linalg.solve(q.scale, apart[:, :, None])[:, :, 0]
        far = q.degrees * (apart * solved).sum(1)
        alike = torch.linalg.solve(q.scale, p.scale.expand_as(q.scale))
        trace = alike.diagonal(dim1=1, dim2=2).sum(1)
        prior_log_det = 2 * torch.linalg.cholesky(p.scale).diagonal().log().sum()
        pieces, size = 1, D
    else:
        far = q.degrees * (apart.square() / q.scale).sum(1)
        trace = (p.scale / q.scale).sum(1)
        prior_log_det = p.scale.log().sum()
        pieces, size = D, 1  # D Wisharts of one dimension
    ratio = p.mean_precision / q.mean_precision
    means = 0.5 * (D * (ratio - 1 - ratio.log()) + p.mean_precision * far)
    log_det = q.log_det_scale()
    expected = q.expect_log_det() - log_det
    first = torch.full_like(q.degrees, p.degrees)
    norms = _log_wishart(first, -prior_log_det, pieces, size)
    norms = norms - _log_wishart(q.degrees, -log_det, pieces, size)
    precisions = 0.5 * ((q.degrees - p.degrees) * expected - q.degrees * D + q.degrees * trace)
    return float((means + norms + precisions).sum())


def _log_wishart(degrees: Tensor, log_det: Tensor, pieces: int, size: int) -> Tensor:
    """log of the normaliser of Wisharts whose scales' log-determinants sum to `log_det`.  [K]"""
    i = torch.arange(size, dtype=torch.float64)
    gammas = torch.lgamma((degrees[:, None] - i) / 2).sum(1) + size * (size - 1) / 4 * math.log(
        math.pi
    )
    return pieces * (0.5 * degrees * size * math.log(2) + gammas) + 0.5 * degrees * log_det
