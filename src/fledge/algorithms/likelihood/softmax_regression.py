"""Softmax regression fitted to the end by Newton's method, and its Laplace posterior.

Minimises Σ_n −log softmax(Wᵀ x_n)_{y_n} + ½ λ |W|², which is strictly convex (Bishop 2006, section
4.3.4; the Laplace approximation, section 4.4).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS, SETTLED = 50, 1e-9


def fit_softmax(x: Tensor, label: Tensor, start: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """x: [n, D] float64, label: [n] long, start: [D, C].  -> weights [D, C], and the Hessian there,
    [D·C, D·C]
    """
    weight, target = start, torch.nn.functional.one_hot(label, start.shape[1]).double()
    for _ in range(ROUNDS):
        p = (x @ weight).softmax(-1)
        slope = x.T @ (p - target) + penalty * weight
        hessian = make_hessian(x, p, penalty)
        if float(slope.abs().max()) < SETTLED:
            break
        step = torch.linalg.solve(hessian, slope.flatten()).view_as(weight)
        weight = go_down(x, target, weight, step, slope, penalty)
    return weight, make_hessian(x, (x @ weight).softmax(-1), penalty)


def make_hessian(x: Tensor, p: Tensor, penalty: float) -> Tensor:
    """Σ_n x xᵀ ⊗ (diag p − p pᵀ) + λ.  -> [D·C, D·C]"""
    curve = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    D, C = x.shape[1], p.shape[1]
    pairs = (x[:, :, None] * x[:, None]).flatten(1)  # [n, D·D]
    table = (pairs.T @ curve.flatten(1)).view(D, D, C, C).transpose(1, 2)
    return table.reshape(D * C, D * C) + penalty * torch.eye(D * C, dtype=x.dtype)


def go_down(
    x: Tensor, target: Tensor, weight: Tensor, step: Tensor, slope: Tensor, penalty: float
) -> Tensor:
    """The Newton step, halved until the loss falls by a part of what the slope promises."""
    loss = lambda w: float(  # noqa: E731
        (x @ w).logsumexp(-1).sum() - (x @ w * target).sum() + 0.5 * penalty * w.square().sum()
    )
    before, promised, share = loss(weight), float((slope * step).sum()), 1.0
    while loss(weight - share * step) > before - 1e-4 * share * promised and share > 1e-6:
        share /= 2
    return weight - share * step


def draw_weights(weight: Tensor, hessian: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """N(W, H⁻¹).  -> [draws, D, C]"""
    noise = torch.randn(len(hessian), draws, dtype=weight.dtype, generator=generator)
    factor = torch.linalg.cholesky(hessian)
    apart = torch.linalg.solve_triangular(factor.T, noise, upper=True)
    return weight + apart.T.view(draws, *weight.shape)
