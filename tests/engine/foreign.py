"""An architecture that fledge knows nothing of: learned positions, and in place of attention a
causal mixing of positions by one matrix a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.subjects import seeded


@dataclass(frozen=True)
class MixerSizes:
    vocab_size: int = 11
    context: int = 32
    layers: int = 2
    width: int = 16


class Mixer(nn.Module):
    """What `TokenNetwork` asks, and nothing more."""

    def __init__(self, config: MixerSizes, border: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config, self.border = config, border
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.place = nn.Embedding(config.context, config.width)
        self.mixing: Any = nn.ParameterList(
            torch.randn(config.context, config.context, generator=seeded(seed + n)) / 4
            for n in range(config.layers)
        )
        self.inside: Any = nn.ModuleList(
            nn.Linear(config.width, config.width) for _ in range(config.layers)
        )
        with torch.no_grad():
            for n, weight in enumerate(self.parameters()):
                weight.copy_(0.5 * torch.randn(weight.shape, generator=seeded(seed + 100 + n)))

    @property
    def unembedding(self) -> Tensor:
        return self.embedding.weight

    def document_mask(self, tokens: Tensor) -> None:
        return None

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        t = tokens.shape[1]
        h = self.embedding(tokens) + self.place.weight[:t]
        for mixing, inside in zip(self.mixing, self.inside, strict=True):
            h = h + torch.tanh(mixing[:t, :t].tril() @ h)
            h = h + F.gelu(inside(h))
        return h
