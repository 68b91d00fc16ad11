"""The exact posterior of a small Bayesian mixture of normals: a sum over every way to share the
points out.

Given the assignment, weights and components are conjugate and integrate in closed form: the
Dirichlet's by an urn, point after point, and a component's by its normal–Wishart evidence (Murphy
2007, eq. 266).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conjugate:
    """alpha: of the symmetric Dirichlet. m, kappa, nu, psi: of the normal–Wishart's prior, psi
    [D, D] the inverse of its scale.
    """

    alpha: float
    m: Tensor
    kappa: float
    nu: float
    psi: Tensor

    def observe(self, x: Tensor) -> Conjugate:
        """The posterior of one component after some points.  [n, D]"""
        n = len(x)
        if not n:
            return self
        mean = x.mean(0)
        apart, away = x - mean, (mean - self.m)[:, None]
        kappa = self.kappa + n
        psi = self.psi + apart.T @ apart + self.kappa * n / kappa * away @ away.T
        return Conjugate(
            self.alpha, (self.kappa * self.m + n * mean) / kappa, kappa, self.nu + n, psi
        )

    def log_evidence(self, x: Tensor) -> float:
        """log ∫ Π_n N(x_n; μ, Λ⁻¹) p(μ, Λ), in nats.  [n, D]"""
        after, (n, D) = self.observe(x), x.shape
        value = -0.5 * n * D * math.log(math.pi) + 0.5 * D * math.log(self.kappa / after.kappa)
        for i in range(D):
            value += math.lgamma((after.nu - i) / 2) - math.lgamma((self.nu - i) / 2)
        value += 0.5 * self.nu * float(torch.logdet(self.psi))
        return value - 0.5 * after.nu * float(torch.logdet(after.psi))


@dataclass(frozen=True)
class ExactPosterior:
    """log_evidence: log p(x), in nats. parts: which points each component has, of every
    assignment. chance: of each assignment, given the points.
    """

    prior: Conjugate
    x: Tensor
    K: int
    log_evidence: float
    parts: list[tuple[int, ...]]
    chance: Tensor

    def density(self, grid: Tensor) -> Tensor:
        """p(x' | x) at other places, the components' evidence of one more point over that without
        it.  [M, 1] -> [M]
        """
        shares: dict[tuple[int, ...], float] = {}
        N = len(self.x)
        for part, chance in zip(self.parts, self.chance.tolist(), strict=True):
            for k in range(self.K):
                own = tuple(n for n in range(N) if part[n] == k)
                weight = (len(own) + self.prior.alpha) / (N + self.K * self.prior.alpha)
                shares[own] = shares.get(own, 0.0) + chance * weight
        total = torch.zeros(len(grid), dtype=torch.float64)
        for own, share in shares.items():
            total += share * self._student(self.prior.observe(self.x[list(own)]), grid[:, 0])
        return total

    def _student(self, after: Conjugate, grid: Tensor) -> Tensor:
        variance = float(after.psi) * (after.kappa + 1) / (after.kappa * after.nu)
        half, square = after.nu / 2, (grid - after.m).square() / variance
        norm = math.lgamma(half + 0.5) - math.lgamma(half)
        norm -= 0.5 * math.log(after.nu * math.pi * variance)
        return (norm - (half + 0.5) * torch.log1p(square / after.nu)).exp()


def enumerate_assignments(x: Tensor, prior: Conjugate, K: int) -> ExactPosterior:
    """All K^N of them: for a dozen points.  [N, D]"""
    N = len(x)
    parts = list(itertools.product(range(K), repeat=N))
    known: dict[tuple[int, ...], float] = {}
    joint = []
    for part in parts:
        value = log_urn(part, prior.alpha, K)
        for own in list_members(part, K):
            if own not in known:
                known[own] = prior.log_evidence(x[list(own)]) if own else 0.0
            value += known[own]
        joint.append(value)
    weights = torch.tensor(joint, dtype=torch.float64)
    total = weights.logsumexp(0)
    return ExactPosterior(prior, x, K, float(total), parts, (weights - total).exp())


def list_members(part: Sequence[int], K: int) -> Iterator[tuple[int, ...]]:
    for k in range(K):
        yield tuple(n for n, each in enumerate(part) if each == k)


def log_urn(part: Sequence[int], alpha: float, K: int) -> float:
    """log p(z): each point joins a component in proportion to α and how many it has."""
    value, counts = 0.0, [0] * K
    for n, k in enumerate(part):
        value += math.log((counts[k] + alpha) / (n + K * alpha))
        counts[k] += 1
    return value
