"""Bottleneck adapters (Houlsby et al. 2019, §2.1): two small layers of their own in every block,
one on what attention writes and one on what the MLP writes, before either is added to the residual
stream. The network around them is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.weights_version import raise_version

# Where a block hands on what attention and MLP have written: the norm there, if there is one, reads
# what the adapter made of it (as in the paper, whose layers have their norm behind them).
PLACES = ("attention_out_norm", "mlp_out_norm")


@dataclass(frozen=True)
class Houlsby:
    """width: m, of the bottleneck. In a network of width D each adapter learns 2·m·D + m + D
    numbers.
    """

    width: int = 16


class Bottleneck(nn.Module):
    """z ↦ norm(z + W_up gelu(W_down z + b_down) + b_up), of which W_up and b_up start at 0: the
    network says what it said.
    """

    def __init__(self, settings: Houlsby, norm: nn.Module, like: Tensor) -> None:
        """norm: what stood in this place. like: a tensor [.., D] of the network's."""
        super().__init__()
        d, m = like.shape[-1], settings.width
        dtype = torch.promote_types(like.dtype, torch.float32)
        make = {"dtype": dtype, "device": like.device}
        self.down, self.up = nn.Linear(d, m, **make), nn.Linear(m, d, **make)
        self.norm = norm

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None) -> None:
        """W_down uniform in ±1/√D, all else 0."""
        bound = 1 / math.sqrt(self.down.in_features)
        self.down.weight.uniform_(-bound, bound, generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            zero.zero_()

    def forward(self, z: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        return self.norm(z + self.up(F.gelu(self.down(z))))


def add_bottlenecks(
    network: Any, settings: Houlsby, generator: torch.Generator | None = None
) -> None:
    """One in each place of every block of a Transformer, which is frozen already, in place."""
    for block in network.blocks:
        for place in PLACES:
            bottleneck = Bottleneck(settings, getattr(block, place), network.embedding.weight)
            bottleneck.reset(generator)
            setattr(block, place, bottleneck)
    raise_version(network)


def list_bottlenecks(network: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Each with its name, as blocks.0.mlp_out_norm."""
    for name, module in network.named_modules():
        if isinstance(module, Bottleneck):
            yield name, module


def has_bottlenecks(network: nn.Module) -> bool:
    return next(list_bottlenecks(network), None) is not None
