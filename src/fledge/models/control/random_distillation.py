"""Novelty by random network distillation: how badly a network foretells what a fixed random one
says of an observation (Burda et al. 2019, arXiv:1810.12894, section 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fledge.models.control.mlp import mlp


class RandomDistillation(nn.Module):
    """Its error is told in units of the error on what was just learned from, so that a bonus means
    the same at any time: 1 is as strange as that, and what is known by heart is near 0.
    """

    usual: Tensor

    def __init__(self, width: int, *, generator: torch.Generator, codes: int = 16) -> None:
        """width: numbers of an observation. codes: numbers that are foretold of it."""
        super().__init__()
        sizes = (width, 64, codes)
        self.random = mlp(sizes, generator=generator, activation=nn.ReLU).requires_grad_(False)
        self.learned = mlp((width, 64, 64, codes), generator=generator, activation=nn.ReLU)
        self.register_buffer("usual", torch.ones(()))

    def error(self, x: Tensor) -> Tensor:
        """Mean squared error, of scaled observations.  [..., O] -> [...]"""
        return (self.learned(x) - self.random(x)).square().mean(-1)

    @torch.no_grad()
    def settle(self, error: Tensor) -> None:
        """What the error is told in: a running mean of that of the rows that teach it.  [N]"""
        self.usual.lerp_(error.mean(), 0.05)

    def forward(self, x: Tensor) -> Tensor:
        """[..., O] -> [...]"""
        return self.error(x) / self.usual.clamp(min=1e-8)
