"""Factors: x = W h + μ + ε with a few standard normal factors h and independent noise ε.

Factor analysis has a noise variance for every column, probabilistic PCA one for all (Tipping &
Bishop 1999; Bishop 2006, §12.2). p(x) = N(μ, W Wᵀ + Ψ), by Woodbury's identity never inverted
whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Noise = Literal["ppca", "fa"]
LOG_2PI = math.log(2 * math.pi)
BLOCK = 8_192  # points whose [n, q, q] covariances are held at a time


@dataclass(frozen=True)
class Factors:
    """mean: [D]. loading: W [D, q]. noise: the diagonal of Ψ, [D], all equal in ppca; float64."""

    kind: Noise
    mean: Tensor
    loading: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        # As a checkpoint keeps them: products of another layout have other last bits.
        for name in ("mean", "loading", "noise"):
            object.__setattr__(self, name, getattr(self, name).contiguous())

    def count_parameters(self) -> int:
        """Free numbers: a rotation of the factors changes nothing."""
        D, q = self.loading.shape
        return D + D * q - q * (q - 1) // 2 + (1 if self.kind == "ppca" else D)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """E[h | x] = G (x − μ), and Cov[h | x] = (I + Wᵀ Ψ⁻¹ W)⁻¹.  -> [q, D], [q, q]"""
        scaled = self.loading / self.noise[:, None]
        inner = torch.eye(self.loading.shape[1], dtype=scaled.dtype) + self.loading.T @ scaled
        root = torch.linalg.cholesky(inner)
        return torch.cholesky_solve(scaled.T, root), torch.cholesky_inverse(root)

    def log_det(self) -> Tensor:
        """log |W Wᵀ + Ψ| = log |I + Wᵀ Ψ⁻¹ W| + log |Ψ|."""
        scaled = self.loading / self.noise[:, None]
        inner = torch.eye(self.loading.shape[1], dtype=scaled.dtype) + self.loading.T @ scaled
        return torch.logdet(inner) + self.noise.log().sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x); a missing value (NaN) is integrated out.  [N, D] -> [N]"""
        if bool(x.isnan().any()):
            return torch.cat([self.infer_seen(part)[2] for part in x.split(BLOCK)])
        apart = x - self.mean
        gain, _ = self.posterior()
        scaled = apart / self.noise
        explained = (apart @ gain.T) @ self.loading.T
        square = ((apart - explained) * scaled).sum(1)
        return -0.5 * (square + self.log_det() + x.shape[1] * LOG_2PI)

    def infer(self, x: Tensor) -> Tensor:
        """E[h | x], or given what is seen of x.  [N, D] -> [N, q]"""
        if bool(x.isnan().any()):
            return torch.cat([self.infer_seen(part)[0] for part in x.split(BLOCK)])
        return (x - self.mean) @ self.posterior()[0].T

    def infer_seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E[h | x], Cov[h | x] and log p(x) of points with missing values, by what each has.
        [n, D] -> [n, q], [n, q, q], [n]
        """
        W, seen = self.loading, ~x.isnan()
        there, apart = seen.to(x.dtype), torch.where(seen, x - self.mean, 0.0)
        scaled = W / self.noise[:, None]
        outer = (scaled[:, :, None] * W[:, None, :]).flatten(1)  # of each column [D, q²]
        inner = (there @ outer).view(-1, W.shape[1], W.shape[1])
        root = torch.linalg.cholesky(inner + torch.eye(W.shape[1], dtype=x.dtype))
        h = torch.cholesky_solve((apart @ scaled)[:, :, None], root)[:, :, 0]
        rest = apart - there * (h @ W.T)
        square = (rest * apart / self.noise).sum(1)
        log_det = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1) + there @ self.noise.log()
        log_p = -0.5 * (square + log_det + there.sum(1) * LOG_2PI)
        return h, torch.cholesky_inverse(root), log_p

    def sample(self, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points, and the factors that each is made of.  -> [N, D], [N, q]"""
        D, q = self.loading.shape
        h = torch.randn(points, q, generator=generator, dtype=self.mean.dtype)
        noise = torch.randn(points, D, generator=generator, dtype=self.mean.dtype)
        return h @ self.loading.T + self.mean + noise * self.noise.sqrt(), h

    def card(self) -> dict[str, Any]:
        return {"model": self.kind}

    def tensors(self) -> dict[str, Tensor]:
        named = {"mean": self.mean, "loading": self.loading, "noise": self.noise}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> Factors:
        return cls(card["model"], tensors["mean"], tensors["loading"], tensors["noise"])
