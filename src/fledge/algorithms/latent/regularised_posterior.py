"""Regularised Bayes: the posterior nearest to p(z | x) among those in which some expectations are
what somebody knows them to be.

min_q KL(q ‖ p) + slack, E_q[f_m] = b_m, has the solution q(z) ∝ p(z) exp(θ · f(z)), and θ the
highest point of a concave dual, which Newton's method climbs (Ganchev, Graça, Gillenwater & Taskar
2010, eqs. 5–6; Zhu, Chen & Xing 2014). Of labels it is learning by generalised expectations (Mann &
McCallum 2010) with features that a vote turns on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 4.0  # of a Newton step in any coordinate: beyond it a label's odds would leap


@dataclass(frozen=True)
class Constraints:
    """Of N independent z with C values each. log_prior: log p(z) [N, C]. features: f [N, C, M].
    wanted: b, the sums over all N [M]. slack: variance of what a constraint may be missed by, in
    the dual ½ slack |θ|².
    """

    log_prior: Tensor
    features: Tensor
    wanted: Tensor
    slack: float

    def posterior(self, theta: Tensor) -> Tensor:
        """q.  [N, C]"""
        return (self.log_prior + self.features @ theta).softmax(1)

    def dual(self, theta: Tensor) -> float:
        """θ · b − Σ_n log Σ_z p(z) exp(θ · f) − ½ slack |θ|²: at its top the least KL(q ‖ p) and
        what the slack costs, in nats.
        """
        norm = (self.log_prior + self.features @ theta).logsumexp(1)
        own = norm - self.log_prior.logsumexp(1)
        return float(theta @ self.wanted - own.sum() - 0.5 * self.slack * theta @ theta)

    def climb(self, theta: Tensor) -> Tensor:
        """A Newton step, halved until the dual does not fall."""
        q = self.posterior(theta)
        mean = torch.einsum("nc,ncm->nm", q, self.features)
        gradient = self.wanted - mean.sum(0) - self.slack * theta
        second = torch.einsum("nc,ncm,ncl->ml", q, self.features, self.features) - mean.T @ mean
        eye = torch.eye(len(theta), dtype=theta.dtype)
        step = torch.linalg.solve(second + (self.slack + 1e-9) * eye, gradient)
        step = step * min(1.0, LARGEST / max(1e-300, float(step.abs().max())))
        now = self.dual(theta)
        for _ in range(40):
            if self.dual(theta + step) >= now:
                return theta + step
            step = step / 2
        return theta
