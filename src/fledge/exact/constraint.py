"""Posterior regularisation: the distribution nearest to a model among those that meet constraints
on expectations.

minimise KL(q‖p) subject to E_q[φ_k] ≤ b_k. The optimum is q ∝ p·exp(−λ·φ), λ ≥ 0 the maximum of the
concave dual −λ·b − log Σ_y p(y) exp(−λ·φ(y)), whose slope is E_q[φ] − b (Ganchev et al. 2010,
proposition 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Projection:
    logq: Tensor  # [S]
    multiplier: Tensor  # [K]: λ
    trace: list[float]  # the largest violation E_q[φ] − b after each step of the ascent

    def expectation(self, feature: Tensor) -> Tensor:
        """E_q[φ].  [K, S] -> [K]"""
        return feature @ self.logq.exp()


def project(
    logp: Tensor, feature: Tensor, bound: Tensor, steps: int = 20_000, tolerance: float = 1e-12
) -> Projection:
    """By ascent of the dual, projected onto λ ≥ 0.  logp [S], feature [K, S], bound [K]

    Raises ValueError where no distribution over what p allows meets the bounds, or the ascent does
    not arrive in `steps`.
    """
    feature, bound = feature.to(logp), bound.to(logp)
    for k, (row, most) in enumerate(zip(feature, bound, strict=True)):
        least = row[logp > -torch.inf].min()
        if least > most:
            raise ValueError(
                f"E[φ_{k}] ≤ {float(most):.4g} cannot be met: φ_{k} is {float(least):.4g} or more "
                "everywhere."
            )
    spread = feature.amax(1) - feature.amin(1)
    # The dual's curvature is the covariance of φ, at most Σ_k (range of φ_k)²/4: this step never
    # overshoots.
    rate = 4 / spread.square().sum().clamp(min=1e-12)
    multiplier = torch.zeros_like(bound)
    trace: list[float] = []
    logq = logp
    for _ in range(steps):
        logq = (logp - multiplier @ feature).log_softmax(0)
        slope = feature @ logq.exp() - bound
        trace.append(float(slope.max()))
        moved = (multiplier + rate * slope).clamp(min=0)
        if float((moved - multiplier).abs().max() / rate) < tolerance:
            return Projection(logq, multiplier, trace)
        multiplier = moved
    raise ValueError(
        f"no distribution was found in {steps} steps that meets all bounds: the largest violation "
        f"is {trace[-1]:.3g}. Loosen one."
    )
