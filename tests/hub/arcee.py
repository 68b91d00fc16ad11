"""A Llama variant as a user writes it, in one file: Arcee, whose MLP has no gate and squares what
is positive in it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.hub.families import LLAMA
from fledge.hub.transformer_family import LlamaConfig, read_sizes, write_sizes
from fledge.hub.weight_names import LLAMA_NAMES, list_weights
from fledge.models.language.transformer import Transformer, TransformerConfig

NAMES = replace(LLAMA_NAMES, block={**LLAMA_NAMES.block, "up": ("mlp.up_proj",)})


def square(x: Tensor) -> Tensor:
    """max(x, 0)² (So et al. 2021, §4)."""
    return x.relu().square()


class SquaredTransformer(Transformer):
    def __init__(
        self,
        config: TransformerConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(config, border, generator)
        for block in self.blocks:
            block.activate = square


def read_squared(config: LlamaConfig, folder: Path) -> TransformerConfig:
    return read_sizes(config, folder, gated=False, activation="silu")  # which is replaced above


def write_squared(c: TransformerConfig) -> dict[str, Any]:
    return write_sizes(c) | {"hidden_act": "relu2"}


def is_squared(network: Any) -> bool:
    return isinstance(network, SquaredTransformer)


ARCEE = replace(
    LLAMA,
    model_type="arcee",
    name="Arcee",
    read_config=read_squared,
    write_config=write_squared,
    weights=partial(list_weights, names=NAMES),
    build=SquaredTransformer,
    builds=is_squared,
)
