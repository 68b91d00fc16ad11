"""A mixture of normal distributions: parameters, densities, samples.

Bishop 2006, eq. 9.7: p(x) = Σ_k π_k N(x; μ_k, Σ_k), with Σ_k full, tied (one for all), diagonal or
spherical.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fledge.models.latent.missing_values import each_pattern

Kind = Literal["full", "tied", "diagonal", "spherical"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCK = 8_192  # points whose [n, K] log-joints are held at a time
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class GaussianMixture:
    """weight: π [K]. mean: μ [K, D]. covariance: full [K, D, D], tied [D, D], diagonal [K, D],
    spherical [K]; all float64.
    """

    kind: Kind
    weight: Tensor
    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        # As a checkpoint keeps them: products of another layout have other last bits.
        for name in ("weight", "mean", "covariance"):
            object.__setattr__(self, name, getattr(self, name).contiguous())

    @property
    def components(self) -> int:
        """K."""
        return len(self.weight)

    @property
    def width(self) -> int:
        """D."""
        return self.mean.shape[1]

    @property
    def has_matrices(self) -> bool:
        """Whether covariances are matrices, not variances."""
        return self.kind in ("full", "tied")

    def expand(self) -> Tensor:
        """Covariances one a component: matrices [K, D, D], or variances [K, D]."""
        if self.kind == "tied":
            return self.covariance.expand(self.components, -1, -1)
        if self.kind == "spherical":
            return self.covariance[:, None].expand(-1, self.width)
        return self.covariance

    def count_parameters(self) -> int:
        """Free numbers: weights sum to 1, covariances are symmetric."""
        K, D = self.components, self.width
        half = D * (D + 1) // 2
        own = {"full": K * half, "tied": half, "diagonal": K * D, "spherical": K}[self.kind]
        return own + K * D + K - 1

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z = k); a missing value (NaN) is integrated out.  [n, D] -> [n, K]"""
        return self.log_density(x) + self.weight.log()

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x | z = k); a missing value (NaN) is integrated out.  [n, D] -> [n, K]"""
        if not bool(x.isnan().any()):
            return self._log_density(x, slice(None))
        each = x.new_empty(len(x), self.components)
        for rows, seen in each_pattern(x):
            each[rows] = self._log_density(x[rows][:, seen], seen)
        return each

    def _log_density(self, x: Tensor, seen: Tensor | slice) -> Tensor:
        """Of points of the same values seen, by the marginal over these."""
        mean, covariance = self.mean[:, seen], self.expand()
        each = x.new_empty(len(x), self.components)
        D = mean.shape[1]
        for k in range(self.components):
            apart = x - mean[k]
            if self.has_matrices:
                root = torch.linalg.cholesky(covariance[k][seen][:, seen])
                apart = torch.linalg.solve_triangular(root, apart.T, upper=False)
                square, log_det = apart.square().sum(0), 2 * root.diagonal().log().sum()
            else:
                variance = covariance[k][seen]
                square, log_det = apart.square() @ (1 / variance), variance.log().sum()
            each[:, k] = -0.5 * (square + log_det + D * LOG_2PI)
        return each

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x).  [N, D] -> [N]"""
        return torch.cat([self.log_joint(part).logsumexp(1) for part in x.split(BLOCK)])

    def responsibility(self, x: Tensor) -> Tensor:
        """p(z = k | x).  [N, D] -> [N, K]"""
        return torch.cat([self.log_joint(part).softmax(1) for part in x.split(BLOCK)])

    def predict(self, x: Tensor) -> Tensor:
        """The component that a point is likeliest of.  [N, D] -> [N]"""
        return torch.cat([self.log_joint(part).argmax(1) for part in x.split(BLOCK)])

    def sample(self, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points, and the component that each is of.  -> [N, D], [N]"""
        component = torch.multinomial(self.weight, points, replacement=True, generator=generator)
        noise = torch.randn(points, self.width, generator=generator, dtype=self.mean.dtype)
        covariance = self.expand()
        x = self.mean[component]
        for k in range(self.components):
            own = component == k
            if self.has_matrices:
                x[own] += noise[own] @ torch.linalg.cholesky(covariance[k]).T
            else:
                x[own] += noise[own] * covariance[k].sqrt()
        return x, component

    def card(self) -> dict[str, Any]:
        """What is written beside the tensors."""
        return {"model": "gmm", "kind": self.kind}

    def tensors(self) -> dict[str, Tensor]:
        """What is written into a file."""
        named = {"weight": self.weight, "mean": self.mean, "covariance": self.covariance}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> GaussianMixture:
        return cls(card["kind"], tensors["weight"], tensors["mean"], tensors["covariance"])
