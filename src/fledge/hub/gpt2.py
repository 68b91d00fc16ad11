"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm, biases everywhere, an MLP without a
gate; in its file matrices are transposed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.hub.family import ModelConfig
from fledge.hub.transformer_family import (
    Epsilon,
    Layers,
    Size,
    make_family,
    read_activation,
    refuse,
    write_activation,
)
from fledge.hub.weight_names import TRANSPOSED, Names
from fledge.models.language.transformer import TransformerConfig

NAMES = Names(
    embedding="transformer.wte",
    place="transformer.wpe",
    norm="transformer.ln_f",
    head="lm_head",
    layer="transformer.h.{}.",
    block={
        "attention.qkv": ("attn.c_attn",),
        "attention.out": ("attn.c_proj",),
        "attention_norm": ("ln_1",),
        "mlp_norm": ("ln_2",),
        "up": ("mlp.c_fc",),
        "down": ("mlp.c_proj",),
    },
    layout=lambda c: dict.fromkeys(("attention.qkv", "attention.out", "up", "down"), TRANSPOSED),
)


class GPT2Config(ModelConfig):
    vocab_size: Size
    n_positions: Size
    n_embd: Size
    n_layer: Layers
    n_head: Size
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: Epsilon = 1e-5
    tie_word_embeddings: bool = True
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False


def _read_gpt2(config: GPT2Config, folder: Path) -> TransformerConfig:
    refuse(
        folder,
        scale_attn_by_inverse_layer_idx=(config.scale_attn_by_inverse_layer_idx, False),
        add_cross_attention=(config.add_cross_attention, False),
    )
    activation = read_activation("activation_function", config.activation_function, folder)
    try:
        return TransformerConfig(
            vocab_size=config.vocab_size,
            context=config.n_positions,
            layers=config.n_layer,
            width=config.n_embd,
            heads=config.n_head,
            kv_heads=config.n_head,
            mlp_width=config.n_inner or 4 * config.n_embd,
            tied=config.tie_word_embeddings,
            norm_eps=config.layer_norm_epsilon,
            family="gpt2",
            learned_positions=True,
            norm="layer",
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            gated=False,
            activation=activation,
            score_scale=0.0 if config.scale_attn_weights else 1.0,
        )
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _write_gpt2(c: TransformerConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "n_positions": c.context,
        "n_embd": c.width,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_inner": c.mlp_width,
        "activation_function": write_activation(c.activation),
        "layer_norm_epsilon": c.norm_eps,
        "tie_word_embeddings": c.tied,
        "scale_attn_weights": c.score_scale != 1.0,
    }


GPT2 = make_family(
    "gpt2", "GPT2", GPT2Config, _read_gpt2, _write_gpt2, NAMES,
    causal_class="GPT2LMHeadModel", no_weights=r".*\.attn\.(masked_)?bias",
)  # fmt: skip
