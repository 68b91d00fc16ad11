"""A linear reward out of answers that were compared, fitted to the end by Newton's method, and its
Laplace posterior.

P(the first is better) = σ(w · d), d the features of the first less those of the second (Bradley &
Terry 1952). Minimises Σ_n log(1 + exp(−w · d_n)) + ½ λ |w|², which is strictly convex (Bishop
2006, section 4.3.3; the Laplace approximation, section 4.5.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

ROUNDS, SETTLED = 50, 1e-8


@dataclass(frozen=True)
class RewardPosterior:
    """w ~ N(mean, covariance).  [D], [D, D], float64"""

    mean: Tensor
    covariance: Tensor

    def foretell(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the lead w · d of each pair.  [N, D] -> [N], [N]"""
        return d @ self.mean, ((d @ self.covariance) * d).sum(-1)


def fit_bradley_terry(d: Tensor, penalty: float, start: Tensor | None = None) -> RewardPosterior:
    """d: [n, D] float64, of the better answer less the other; n may be 0, which leaves the prior.
    start: [D], where the search begins.
    """
    one = torch.eye(d.shape[1], dtype=d.dtype)
    w = d.new_zeros(d.shape[1]) if start is None else start
    for _ in range(ROUNDS):
        p = (d @ w).sigmoid()
        slope = penalty * w - d.T @ (1 - p)
        hessian = d.T @ (d * (p * (1 - p))[:, None]) + penalty * one
        if float(slope.abs().max()) < SETTLED:
            break
        w = go_down(d, w, torch.linalg.solve(hessian, slope), slope, penalty)
    p = (d @ w).sigmoid()
    hessian = d.T @ (d * (p * (1 - p))[:, None]) + penalty * one
    return RewardPosterior(w, torch.cholesky_inverse(torch.linalg.cholesky(hessian)))


def go_down(d: Tensor, w: Tensor, step: Tensor, slope: Tensor, penalty: float) -> Tensor:
    """The Newton step, halved until the loss falls by a part of what the slope promises."""

    def loss(at: Tensor) -> float:
        return float(softplus(-(d @ at)).sum() + penalty * at.square().sum() / 2)

    before, promised, size = loss(w), float(slope @ step), 1.0
    while size > 1e-6 and loss(w - size * step) > before - 1e-4 * size * promised:
        size /= 2
    return w - size * step
