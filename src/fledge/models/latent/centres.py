"""Centres of clusters: what is left of a mixture of normals when its variance goes to 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 8_192  # points whose [n, K] distances are held at a time


@dataclass(frozen=True)
class Centres:
    """mean: [K, D] float64."""

    mean: Tensor

    @property
    def components(self) -> int:
        """K."""
        return len(self.mean)

    def count_parameters(self) -> int:
        return self.mean.numel()

    def square_distance(self, x: Tensor) -> Tensor:
        """To every centre, over the columns of which a point has a value.  [n, D] -> [n, K]"""
        seen = ~x.isnan()
        if bool(seen.all()):
            return torch.cdist(x, self.mean, compute_mode="donot_use_mm_for_euclid_dist").square()
        middle = self.mean.mean(0)  # about it, so that no digits are lost far from 0
        y, about = torch.where(seen, x - middle, 0.0), self.mean - middle
        across = seen.to(y.dtype) @ about.square().T - 2 * y @ about.T
        return (y.square().sum(1, keepdim=True) + across).clamp_min(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """−½ min_k |x − μ_k|²: σ² log p(x), up to a constant, in the limit σ → 0.  [N, D] -> [N]"""
        return torch.cat([-0.5 * self.square_distance(part).amin(1) for part in x.split(BLOCK)])

    def responsibility(self, x: Tensor) -> Tensor:
        """1 for the nearest centre, 0 for the others.  [N, D] -> [N, K]"""
        return torch.nn.functional.one_hot(self.predict(x), self.components).double()

    def predict(self, x: Tensor) -> Tensor:
        """The nearest centre.  [N, D] -> [N]"""
        return torch.cat([self.square_distance(part).argmin(1) for part in x.split(BLOCK)])

    def card(self) -> dict[str, Any]:
        return {"model": "kmeans"}

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean.contiguous().clone()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> Centres:
        return cls(tensors["mean"])
