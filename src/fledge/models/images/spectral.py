"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): every weight matrix over its
largest singular value, so that a critic of such layers is 1-Lipschitz.

The power iteration goes on when it is told to, once an optimizer step, and not whenever the layer
is asked: what a batch gives does not depend on the pieces that it is cut into.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

AT_FIRST = 15  # rounds, of a fresh weight


class Spectral(nn.Module):
    """W -> W / σ(W), σ by the singular vectors that the power iteration has come to (eq. 8)."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", torch.randn(rows))
        self.register_buffer("v", torch.randn(columns))
        self.advance(weight, AT_FIRST)

    @torch.no_grad()
    def advance(self, weight: Tensor, rounds: int = 1) -> None:
        matrix = weight.flatten(1)
        for _ in range(rounds):
            self.v.copy_(nn.functional.normalize(matrix.T @ self.u, dim=0))
            self.u.copy_(nn.functional.normalize(matrix @ self.v, dim=0))

    def measure(self, weight: Tensor) -> Tensor:
        """σ(W).  -> []"""
        return self.u @ weight.flatten(1) @ self.v

    def forward(self, weight: Tensor) -> Tensor:
        return weight / self.measure(weight)


def normalise(network: nn.Module) -> None:
    """Every linear map and convolution in it from here on, in place."""
    for part in list(network.modules()):
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Embedding):
            parametrize.register_parametrization(part, "weight", Spectral(part.weight.detach()))


def advance_all(network: nn.Module) -> None:
    """One round of the power iteration of every weight that is normalised."""
    for part in network.modules():
        if parametrize.is_parametrized(part, "weight"):
            held: Any = part
            weights = held.parametrizations["weight"]
            weights[0].advance(weights.original)
