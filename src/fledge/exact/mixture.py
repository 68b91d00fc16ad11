"""A mixture of normal distributions on a line, and EM for it in closed form: small enough to follow
by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    weight: Tensor  # [K]
    mean: Tensor  # [K]
    variance: Tensor  # [K]

    def joint(self, x: Tensor) -> Tensor:
        """log p(x, z).  [N] -> [N, K]"""
        apart = (x[:, None] - self.mean).square() / self.variance
        return self.weight.log() - 0.5 * (apart + self.variance.log() + math.log(2 * math.pi))

    def log_likelihood(self, x: Tensor) -> float:
        """Σ_n log p(x_n), in nats."""
        return float(self.joint(x).logsumexp(1).sum())

    def em_step(self, x: Tensor) -> Mixture:
        """Responsibilities, then weighted means (Dempster, Laird & Rubin 1977, §4.3; Bishop 2006,
        eqs. 9.23–9.27).
        """
        responsibility = self.joint(x).softmax(1)  # [N, K]
        count = responsibility.sum(0)
        mean = responsibility.T @ x / count
        variance = (responsibility * (x[:, None] - mean).square()).sum(0) / count
        return Mixture(count / len(x), mean, variance)
