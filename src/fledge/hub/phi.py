"""Phi-3 (Abdin et al. 2024): a Llama whose products are fused in the file too, and whose positions
have two lists of divisors, of short rows and of long ones (Ding et al. 2024).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fledge.hub.llama import write_window
from fledge.hub.rope_config import Tokens, find_rope, read_scaling, write_part
from fledge.hub.transformer_family import Epsilon, LlamaConfig, Window, make_family, read_sizes
from fledge.hub.weight_names import LLAMA_NAMES
from fledge.models.language.transformer import TransformerConfig


class Phi3Config(LlamaConfig):
    rms_norm_eps: Epsilon = 1e-5
    sliding_window: Window | None = None
    original_max_position_embeddings: Tokens = 4096


def _read_phi3(config: Phi3Config, folder: Path) -> TransformerConfig:
    rope = find_rope(config)
    if rope.kind in ("su", "yarn"):  # names of its first versions for the same
        rope = rope.model_copy(update={"rope_type": "longrope"})
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    turned = int(head * (rope.partial_rotary_factor or config.partial_rotary_factor or 1.0))
    return read_sizes(
        config, folder, partial_rotary=1.0, window=config.sliding_window or 0,
        scaling=read_scaling(
            rope, config.max_position_embeddings, turned, folder,
            kinds=("default", "longrope"), original=config.original_max_position_embeddings,
        ),
    )  # fmt: skip


def _write_phi3(c: TransformerConfig) -> dict[str, Any]:
    sizes = write_window(c)
    sizes["rope_parameters"]["partial_rotary_factor"] = write_part(c.turned, c.head_width)
    return sizes | {"original_max_position_embeddings": c.scaling.original or c.context}


FUSED = replace(
    LLAMA_NAMES,
    block={
        **LLAMA_NAMES.block,
        "attention.qkv": ("self_attn.qkv_proj",),
        "gate_up": ("mlp.gate_up_proj",),
    },
)
PHI3 = make_family("phi3", "Phi3", Phi3Config, _read_phi3, _write_phi3, FUSED)
