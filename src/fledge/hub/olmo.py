"""OLMo 2 (OLMo et al. 2024): norms after attention and MLP in place of before them, and of queries
and keys over all heads together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fledge.hub.transformer_family import (
    Epsilon,
    LlamaConfig,
    make_family,
    read_sizes,
    write_sizes,
)
from fledge.hub.weight_names import LLAMA_NAMES
from fledge.models.language.transformer import TransformerConfig


class Olmo2Config(LlamaConfig):
    rms_norm_eps: Epsilon = 1e-5


def _read_olmo2(config: Olmo2Config, folder: Path) -> TransformerConfig:
    return read_sizes(
        config, folder, norm_places="after", qk_norm=True, qk_norm_whole=True,
        qkv_bias=config.attention_bias, out_bias=config.attention_bias,
    )  # fmt: skip


AFTER = replace(
    LLAMA_NAMES,
    block={
        **LLAMA_NAMES.block,
        "attention_out_norm": ("post_attention_layernorm",),
        "mlp_out_norm": ("post_feedforward_layernorm",),
    },
)
OLMO2 = make_family("olmo2", "Olmo2", Olmo2Config, _read_olmo2, write_sizes, AFTER)
