"""Qwen 2 and 2.5 (biases of queries, keys and values), Qwen 3 (norms of queries and keys), and its
mixture of experts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.transformer_family import (
    LlamaConfig,
    Size,
    Window,
    make_family,
    read_sizes,
    read_windows,
    write_layer_types,
    write_sizes,
)
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer import TransformerConfig


class QwenConfig(LlamaConfig):
    use_sliding_window: bool = False
    sliding_window: Window | None = 4096
    max_window_layers: Window = 28
    layer_types: list[str] | None = None


class Qwen3Config(QwenConfig):
    head_dim: Size | None = 128


def _windows(config: QwenConfig, folder: Path) -> tuple[int, ...]:
    layers = config.num_hidden_layers
    window = config.sliding_window if config.use_sliding_window else None
    kinds = config.layer_types
    if kinds is None:
        first = config.max_window_layers
        kinds = ["sliding_attention" if window and layer >= first else "full_attention"
                 for layer in range(layers)]  # fmt: skip
    return read_windows(window, kinds, layers, folder)


def _write_windows(c: TransformerConfig) -> dict[str, Any]:
    window = max((c.window, *c.windows))
    if not window:
        return {}
    types = write_layer_types(c)
    return {"use_sliding_window": True, "sliding_window": window, "layer_types": types}


def _read_qwen2(config: QwenConfig, folder: Path) -> TransformerConfig:
    return read_sizes(config, folder, qkv_bias=True, windows=_windows(config, folder))


def _write_qwen2(c: TransformerConfig) -> dict[str, Any]:
    return write_sizes(c) | _write_windows(c)


def _read_qwen3(config: Qwen3Config, folder: Path) -> TransformerConfig:
    return read_sizes(
        config, folder, qk_norm=True, windows=_windows(config, folder),
        qkv_bias=config.attention_bias, out_bias=config.attention_bias,
    )  # fmt: skip


Count = Annotated[int, Field(ge=1, le=100_000)]


class Qwen3MoeConfig(QwenConfig):
    decoder_sparse_step: Annotated[int, Field(ge=1)] = 1
    mlp_only_layers: list[int] | None = None
    moe_intermediate_size: Size = 768
    num_experts: Count = 128
    num_local_experts: Count | None = None  # the same as `transformers` 5 writes it
    num_experts_per_tok: Size = 8
    norm_topk_prob: bool = False


def check_experts(number: int, used: int, folder: Path) -> None:
    """Raises UserError where a token would use more experts than there are."""
    if used > number:
        raise UserError(
            f"{folder / 'config.json'} has num_experts_per_tok={used} of {number} experts: it must "
            "be as many or fewer."
        )


def _read_qwen3_moe(config: Qwen3MoeConfig, folder: Path) -> TransformerConfig:
    number = config.num_local_experts or config.num_experts
    check_experts(number, config.num_experts_per_tok, folder)
    dense = tuple(
        layer
        for layer in range(config.num_hidden_layers)
        if layer in (config.mlp_only_layers or ()) or (layer + 1) % config.decoder_sparse_step
    )
    window = config.sliding_window if config.use_sliding_window else None
    return read_sizes(
        config, folder, qk_norm=True, window=window or 0,
        qkv_bias=config.attention_bias, out_bias=config.attention_bias,
        experts=Experts(
            number, config.num_experts_per_tok, config.moe_intermediate_size,
            normalised=config.norm_topk_prob, dense=dense,
        ),
    )  # fmt: skip


def _write_qwen3_moe(c: TransformerConfig) -> dict[str, Any]:
    experts = c.experts or Experts(1, 1, 1)
    return write_sizes(c) | {
        "use_sliding_window": c.window > 0,
        "sliding_window": c.window or None,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(experts.dense),
        "moe_intermediate_size": experts.width,
        "num_experts": experts.number,
        "num_experts_per_tok": experts.used,
        "norm_topk_prob": experts.normalised,
    }


QWEN2 = make_family("qwen2", "Qwen2", QwenConfig, _read_qwen2, _write_qwen2)
QWEN3 = make_family("qwen3", "Qwen3", Qwen3Config, _read_qwen3, _write_qwen2)
QWEN3_MOE = make_family("qwen3_moe", "Qwen3Moe", Qwen3MoeConfig, _read_qwen3_moe, _write_qwen3_moe)
