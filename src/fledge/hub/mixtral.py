"""Mixtral (Jiang et al. 2024): Mistral with a mixture of experts in every layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fledge.hub.qwen import Count, check_experts
from fledge.hub.transformer_family import (
    Epsilon,
    LlamaConfig,
    Size,
    Window,
    make_family,
    read_sizes,
    write_sizes,
)
from fledge.hub.weight_names import LLAMA_NAMES
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer import TransformerConfig


class MixtralConfig(LlamaConfig):
    rms_norm_eps: Epsilon = 1e-5
    sliding_window: Window | None = None
    num_local_experts: Count = 8
    num_experts_per_tok: Size = 2


def _read_mixtral(config: MixtralConfig, folder: Path) -> TransformerConfig:
    number, used = config.num_local_experts, config.num_experts_per_tok
    check_experts(number, used, folder)
    return read_sizes(
        config, folder, theta=1_000_000.0, window=config.sliding_window or 0,
        experts=Experts(number, used, config.intermediate_size),
    )  # fmt: skip


def write_mixture(c: TransformerConfig) -> dict[str, Any]:
    """The common entries, and those of experts."""
    experts = c.experts or Experts(1, 1, 1)
    return write_sizes(c) | {
        "intermediate_size": experts.width,
        "num_local_experts": experts.number,
        "num_experts_per_tok": experts.used,
    }


def _write_mixtral(c: TransformerConfig) -> dict[str, Any]:
    return write_mixture(c) | {"sliding_window": c.window or None}


NAMES = replace(
    LLAMA_NAMES,
    block={
        **LLAMA_NAMES.block,
        "mixture.router": ("block_sparse_moe.gate",),
        "mixture.gate_up": ("block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3"),
        "mixture.down": ("block_sparse_moe.experts.{}.w2",),
    },
)
MIXTRAL = make_family("mixtral", "Mixtral", MixtralConfig, _read_mixtral, _write_mixtral, NAMES)
