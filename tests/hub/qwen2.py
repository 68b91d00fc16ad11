"""A Llama variant as a user writes it, in one file: biases on queries, keys and values (Qwen 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fledge.hub.families import LLAMA, list_block, list_weights
from fledge.hub.family import Weight
from fledge.models.language.transformer import Transformer, TransformerConfig


class BiasedTransformer(Transformer):
    def __init__(
        self,
        config: TransformerConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(config, border, generator)
        for block in self.blocks:
            wide = block.attention.qkv
            block.attention.qkv = nn.Linear(wide.in_features, wide.out_features)


def list_biased(c: TransformerConfig) -> Iterator[Weight]:
    yield from list_weights(c)
    queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    biases: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.bias": (keys,),
    }
    for layer in range(c.layers):
        yield from list_block(layer, {"attention.qkv.bias": biases})


def is_biased(network: Any) -> bool:
    return isinstance(network, BiasedTransformer)


QWEN2 = replace(
    LLAMA,
    model_type="qwen2",
    name="Qwen2",
    weights=list_biased,
    build=BiasedTransformer,
    builds=is_biased,
)
