"""A mixture of normals in several dimensions and EM for it, point by point and component by
component, as the books write them: nothing shared, nothing fast.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NormalMixture:
    weight: Tensor  # [K]
    mean: Tensor  # [K, D]
    covariance: Tensor  # [K, D, D]

    def joint(self, x: Tensor) -> Tensor:
        """log p(x_n, z_n = k) by inverse and determinant.  [N, D] -> [N, K]"""
        joint = torch.empty(len(x), len(self.weight), dtype=x.dtype)
        for n, k in itertools.product(range(len(x)), range(len(self.weight))):
            apart, covariance = x[n] - self.mean[k], self.covariance[k]
            square = apart @ torch.linalg.inv(covariance) @ apart
            log_det = torch.linalg.det(2 * math.pi * covariance).log()
            joint[n, k] = self.weight[k].log() - 0.5 * (square + log_det)
        return joint

    def log_likelihood(self, x: Tensor) -> float:
        """Σ_n log p(x_n)."""
        return float(self.joint(x).logsumexp(1).sum())

    def em_step(self, x: Tensor, kind: str) -> NormalMixture:
        """Bishop 2006, eqs. 9.23–9.27, and what the likeliest tied, diagonal and spherical
        covariances are.
        """
        return complete_data_estimate(x, self.joint(x).softmax(1), kind)


def complete_data_estimate(x: Tensor, share: Tensor, kind: str) -> NormalMixture:
    """The likeliest parameters where point n is `share` [N, K] of each component: with shares of 0
    and 1 the complete-data likelihood's.
    """
    N, D = x.shape
    K = share.shape[1]
    count = share.sum(0)
    mean = torch.stack([(share[:, k, None] * x).sum(0) / count[k] for k in range(K)])
    scatter = torch.zeros(K, D, D, dtype=x.dtype)
    for n, k in itertools.product(range(N), range(K)):
        apart = x[n] - mean[k]
        scatter[k] += share[n, k] * torch.outer(apart, apart)
    covariance = scatter / count[:, None, None]
    if kind == "tied":
        covariance = (scatter.sum(0) / N).expand(K, D, D)
    elif kind == "diagonal":
        covariance = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
    elif kind == "spherical":
        eye = torch.eye(D, dtype=x.dtype)
        covariance = torch.stack([eye * each.trace() / D for each in covariance])
    return NormalMixture(count / N, mean, covariance)


def bound_by_enumeration(joint: Tensor, q: Tensor) -> tuple[float, float, float]:
    """ELBO(q), KL(q ‖ p(z | x)) and log p(x), each summed over all K^N ways in which N points can
    be of K components.  joint, q: [N, K]
    """
    N, K = joint.shape
    every = list(itertools.product(range(K), repeat=N))
    rows = torch.arange(N)
    log_joint = torch.stack([joint[rows, torch.tensor(z)].sum() for z in every])
    log_q = torch.stack([q[rows, torch.tensor(z)].log().sum() for z in every])
    log_p = log_joint.logsumexp(0)
    weight = log_q.exp()
    elbo = (weight * (log_joint - log_q)).sum()
    kl = (weight * (log_q - (log_joint - log_p))).sum()
    return float(elbo), float(kl), float(log_p)


def ppca_log_likelihood(covariance: Tensor, factors: int) -> float:
    """The highest log p(x) a point that probabilistic PCA reaches, from the eigenvalues of the
    data's covariance (Tipping & Bishop 1999, eqs. 5, 8 and 9).
    """
    D = len(covariance)
    value = torch.linalg.eigvalsh(covariance).flip(0)
    noise = value[factors:].mean()
    log_det = value[:factors].log().sum() + (D - factors) * noise.log()
    return -0.5 * float(D * math.log(2 * math.pi) + log_det + D)
