"""What every family of approximate posteriors over z ∈ ℝ^d can be asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VariationalFamily(nn.Module):
    """q(z; φ). width: d. The parameters are float64, and so is every z."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        """z with a gradient to φ.  -> [n, d]"""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z).  [n, d] -> [n]"""
        raise NotImplementedError

    def _noise(self, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(samples, self.width, generator=generator, dtype=torch.float64)
