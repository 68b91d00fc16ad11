"""A mixture of factor analysers: each component is a normal whose covariance is a few factors and
noise, W_k W_kᵀ + Ψ_k (Ghahramani & Hinton 1996). Between a diagonal and a full covariance, for many
columns and few points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fledge.models.latent.gaussian_mixture import GaussianMixture


@dataclass(frozen=True)
class FactorMixture:
    """weight: π [K]. mean: [K, D]. loading: W [K, D, q]. noise: the diagonals of Ψ [K, D]; all
    float64.
    """

    weight: Tensor
    mean: Tensor
    loading: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        # As a checkpoint keeps them: products of another layout have other last bits.
        for name in ("weight", "mean", "loading", "noise"):
            object.__setattr__(self, name, getattr(self, name).contiguous())

    @property
    def components(self) -> int:
        """K."""
        return len(self.weight)

    @cached_property
    def normals(self) -> GaussianMixture:
        """The same distribution with its covariances written out."""
        covariance = self.loading @ self.loading.mT + torch.diag_embed(self.noise)
        return GaussianMixture("full", self.weight, self.mean, covariance)

    def count_parameters(self) -> int:
        """Free numbers: a rotation of a component's factors changes nothing."""
        K, D, q = self.loading.shape
        return K * (D + D * q - q * (q - 1) // 2 + D) + K - 1

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x).  [N, D] -> [N]"""
        return self.normals.log_prob(x)

    def responsibility(self, x: Tensor) -> Tensor:
        """p(z = k | x).  [N, D] -> [N, K]"""
        return self.normals.responsibility(x)

    def predict(self, x: Tensor) -> Tensor:
        """The component that a point is likeliest of.  [N, D] -> [N]"""
        return self.normals.predict(x)

    def sample(self, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points, and the component that each is of.  -> [N, D], [N]"""
        return self.normals.sample(points, generator)

    def card(self) -> dict[str, Any]:
        return {"model": "mfa"}

    def tensors(self) -> dict[str, Tensor]:
        named = {name: getattr(self, name) for name in ("weight", "mean", "loading", "noise")}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> FactorMixture:
        return cls(*(tensors[name] for name in ("weight", "mean", "loading", "noise")))
