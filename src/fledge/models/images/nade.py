"""The neural autoregressive distribution estimator (Larochelle & Murray 2011, AISTATS; Uria et al.
2016, arXiv:1605.02226): one hidden layer that grows by a column of weights with each number said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre
from fledge.models.images.autoregressive import Advance, Autoregressive, shift

FEATURES = 16  # of a place, out of which the logits of more levels are made by one matrix for all


class LevelHead(nn.Module):
    """Logits of a level at every place, of what is hidden there: by weights of the place's own, to
    `FEATURES` numbers, and to more levels than these by a matrix that all places share.
    """

    def __init__(self, length: int, width: int, levels: int) -> None:
        super().__init__()
        self.features = min(levels, FEATURES)
        scale = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.randn(length, width, self.features) * scale)
        self.bias = nn.Parameter(torch.zeros(length, levels))
        self.shared = None
        if levels > self.features:
            self.shared = nn.Parameter(torch.randn(self.features, levels) / self.features)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, D, H] -> [B, D, L]"""
        return self.spread(torch.einsum("bdh,dhr->bdr", hidden, self.weight)) + self.bias

    def at(self, t: int, hidden: Tensor) -> Tensor:
        """Of one place.  [B, H] -> [B, L]"""
        return self.spread(hidden @ self.weight[t]) + self.bias[t]

    def spread(self, features: Tensor) -> Tensor:
        return features if self.shared is None else features @ self.shared


class NADE(Autoregressive):
    """settings: width (of the hidden layer)."""

    name = "nade"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width = self.settings["width"]
        self.weight = nn.Parameter(torch.randn(self.length, width) / math.sqrt(self.length))
        self.bias = nn.Parameter(torch.zeros(width))
        self.head = LevelHead(self.length, width, self.values)

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        """h_t = σ(c + Σ_{s<t} W_s x_s) (Larochelle & Murray 2011, eq. 9)."""
        said = centre(x, self.values)[..., None] * self.weight  # [B, D, H]
        before = shift(said.cumsum(1))  # a difference would let a rounding of x_t through
        return self.head(torch.sigmoid(before + self.bias))

    def begin(self, count: int, label: Tensor | None) -> Advance:
        total = self.bias.expand(count, -1)

        def advance(t: int, before: Tensor | None) -> Tensor:
            nonlocal total
            if before is not None:
                total = total + centre(before, self.values)[:, None] * self.weight[t - 1]
            return self.head.at(t, torch.sigmoid(total))

        return advance
