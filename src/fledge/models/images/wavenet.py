"""A causal convolution over a picture read as one row (WaveNet, van den Oord et al. 2016,
arXiv:1609.03499): dilated, gated, with residual and skip connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Advance, Autoregressive, shift


class WaveNet(Autoregressive):
    """settings: width (channels), blocks (of layers whose dilation doubles from 1 on until the
    whole row is seen).
    """

    name = "wavenet"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width = self.settings["width"]
        self.embedding = nn.Embedding(self.values, width)
        self.first = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(0.02 * torch.randn(self.length, width))
        doublings = max(1, (self.length - 1).bit_length())
        dilations = [2**n for n in range(doublings)] * self.settings["blocks"]
        self.layers = nn.ModuleList(DilatedLayer(width, dilation) for dilation in dilations)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.values)
        )

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        hidden = shift(self.embedding(x), self.first) + self.place
        skipped: Any = 0.0
        for layer in self.layers:
            hidden, skip = layer(hidden)
            skipped = skipped + skip
        return self.head(skipped)

    def begin(self, count: int, label: Tensor | None) -> Advance:
        """A layer keeps what it was given the last `dilation` times (Le Paine et al. 2016,
        arXiv:1611.09482).
        """
        layers: list[Any] = list(self.layers)
        kept = [self.first.new_zeros(layer.dilation, count, len(self.first)) for layer in layers]

        def advance(t: int, before: Tensor | None) -> Tensor:
            given = self.first.expand(count, -1) if before is None else self.embedding(before)
            hidden = given + self.place[t]
            skipped: Any = 0.0
            for layer, queue in zip(layers, kept, strict=True):
                place = t % layer.dilation
                old = queue[place].clone()
                queue[place] = hidden
                hidden, skip = layer.at(old, hidden)
                skipped = skipped + skip
            return self.head(skipped)

        return advance


class DilatedLayer(nn.Module):
    """z = tanh(W_f ∗ x) ⊙ σ(W_g ∗ x) (van den Oord et al. 2016, eq. 2), of what stands here and
    `dilation` places before.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.gates = nn.Linear(2 * width, 2 * width)
        self.out = nn.Linear(width, 2 * width)  # residual and skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, C] -> the next layer's, and what is skipped to the head"""
        D = x.shape[1]
        old = F.pad(x, (0, 0, self.dilation, 0))[:, :D]
        return self.at(old, x)

    def at(self, old: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        gated, opened = self.gates(torch.cat([old, x], -1)).chunk(2, -1)
        residual, skip = self.out(gated.tanh() * opened.sigmoid()).chunk(2, -1)
        return x + residual, skip
