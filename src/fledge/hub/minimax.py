"""MiniMax-M2: experts that are chosen by score and bias, as in DeepSeek-V3, and norms of queries
and keys over all heads together.

https://huggingface.co/MiniMaxAI/MiniMax-M2
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fledge.hub.mixtral import NAMES, write_mixture
from fledge.hub.qwen import Count, check_experts
from fledge.hub.rope_config import write_part
from fledge.hub.transformer_family import LlamaConfig, Size, make_family, read_sizes
from fledge.models.language.mixture import Experts
from fledge.models.language.transformer import TransformerConfig


class MiniMaxM2Config(LlamaConfig):
    head_dim: Size | None = 128
    rotary_dim: Size | None = None  # of a head; as its maker's files say it
    num_local_experts: Count = 256
    num_experts_per_tok: Size = 8


def _read_minimax(config: MiniMaxM2Config, folder: Path) -> TransformerConfig:
    number, used = config.num_local_experts, config.num_experts_per_tok
    check_experts(number, used, folder)
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    return read_sizes(
        config, folder, theta=5_000_000.0, partial_rotary=(config.rotary_dim or head) / head,
        qk_norm=True, qk_norm_whole=True,
        experts=Experts(number, used, config.intermediate_size, corrected=True),
    )  # fmt: skip


def _write_minimax(c: TransformerConfig) -> dict[str, Any]:
    sizes = write_mixture(c)
    sizes["rope_parameters"]["partial_rotary_factor"] = write_part(c.turned, c.head_width)
    return sizes


_NAMES = replace(
    NAMES,
    block={**NAMES.block, "mixture.bias": ("block_sparse_moe.e_score_correction_bias",)},
)
MINIMAX_M2 = make_family(
    "minimax_m2", "MiniMaxM2", MiniMaxM2Config, _read_minimax, _write_minimax, _NAMES
)
