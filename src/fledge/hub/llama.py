"""Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023), which gives it a window, and SmolLM3,
some of whose layers have no positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fledge.hub.transformer_family import (
    LlamaConfig,
    Window,
    make_family,
    read_sizes,
    read_windows,
    write_layer_types,
    write_sizes,
)
from fledge.models.language.transformer import TransformerConfig


def _read_llama(config: LlamaConfig, folder: Path) -> TransformerConfig:
    bias = config.attention_bias
    return read_sizes(config, folder, qkv_bias=bias, out_bias=bias, mlp_bias=config.mlp_bias)


def _write_llama(c: TransformerConfig) -> dict[str, Any]:
    return write_sizes(c) | {"mlp_bias": c.mlp_bias}


class MistralConfig(LlamaConfig):
    sliding_window: Window | None = 4096


def _read_mistral(config: MistralConfig, folder: Path) -> TransformerConfig:
    return read_sizes(config, folder, window=config.sliding_window or 0)


def write_window(c: TransformerConfig) -> dict[str, Any]:
    """The common entries, and the window that all layers have."""
    return write_sizes(c) | {"sliding_window": c.window or None}


class SmolLM3Config(LlamaConfig):
    tie_word_embeddings: bool = True
    use_sliding_window: bool = False
    sliding_window: Window | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: Annotated[int, Field(ge=1)] = 4
    layer_types: list[str] | None = None


def _read_smollm3(config: SmolLM3Config, folder: Path) -> TransformerConfig:
    layers, every = config.num_hidden_layers, config.no_rope_layer_interval
    turned = config.no_rope_layers  # 1: it turns
    if turned is None:
        turned = [int((layer + 1) % every != 0) for layer in range(layers)]
    window = config.sliding_window if config.use_sliding_window else None
    kinds = config.layer_types
    if kinds is None:
        kinds = ["sliding_attention" if window and not yes else "full_attention"
                 for yes in turned[:layers]]  # fmt: skip
    bias = config.attention_bias
    return read_sizes(
        config, folder, theta=2_000_000.0, qkv_bias=bias, out_bias=bias, mlp_bias=config.mlp_bias,
        unturned=tuple(layer for layer, yes in enumerate(turned[:layers]) if not yes),
        windows=read_windows(window, kinds, layers, folder),
    )  # fmt: skip


def _write_smollm3(c: TransformerConfig) -> dict[str, Any]:
    window = max((c.window, *c.windows))
    return _write_llama(c) | {
        "use_sliding_window": window > 0,
        "sliding_window": window or None,
        "no_rope_layers": [int(layer not in c.unturned) for layer in range(c.layers)],
        "layer_types": write_layer_types(c),
    }


LLAMA = make_family("llama", "Llama", LlamaConfig, _read_llama, _write_llama)
MISTRAL = make_family("mistral", "Mistral", MistralConfig, _read_mistral, write_window)
SMOLLM3 = make_family("smollm3", "SmolLM3", SmolLM3Config, _read_smollm3, _write_smollm3)
