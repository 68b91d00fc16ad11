"""GPT-NeoX (Black et al. 2022) and StableLM (Bellagente et al. 2024): LayerNorm, heads turned in
part, and attention and MLP that may read the same hidden states.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from fledge.hub.family import Layout, Positive
from fledge.hub.rope_config import write_part
from fledge.hub.transformer_family import (
    Epsilon,
    LlamaConfig,
    make_family,
    read_sizes,
    refuse,
    write_sizes,
)
from fledge.hub.weight_names import Names
from fledge.models.language.transformer import TransformerConfig


class NeoXConfig(LlamaConfig):
    # an entry that neither family has
    head_dim: None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    hidden_act: str = "gelu"
    layer_norm_eps: Epsilon = 1e-5
    attention_bias: bool = True
    use_parallel_residual: bool = True
    rotary_pct: Annotated[float, Field(gt=0, le=1)] = 0.25  # of earlier versions
    rotary_emb_base: Positive | None = None


def _read_neox(config: NeoXConfig, folder: Path) -> TransformerConfig:
    return read_sizes(
        config, folder, theta=config.rotary_emb_base or 10_000.0,
        partial_rotary=config.rotary_pct, kv_heads=config.num_attention_heads,
        norm="layer", norm_eps=config.layer_norm_eps, gated=False, mlp_bias=True,
        qkv_bias=config.attention_bias, out_bias=config.attention_bias,
        residual="parallel" if config.use_parallel_residual else "in turn",
    )  # fmt: skip


def _write_common(c: TransformerConfig) -> dict[str, Any]:
    sizes = write_sizes(c)
    del sizes["rms_norm_eps"], sizes["head_dim"]
    sizes["rope_parameters"]["partial_rotary_factor"] = write_part(c.turned, c.head_width)
    return sizes | {
        "layer_norm_eps": c.norm_eps,
        "use_parallel_residual": c.residual != "in turn",
    }


def _write_neox(c: TransformerConfig) -> dict[str, Any]:
    return _write_common(c) | {"attention_bias": c.qkv_bias and c.out_bias}


def _interleaved(c: TransformerConfig) -> dict[str, Layout]:
    """In its file query, key and value of a head follow each other, and then come those of the
    next.
    """

    def read(theirs: Tensor) -> Tensor:
        return theirs.unflatten(0, (c.heads, 3, -1)).transpose(0, 1).flatten(0, 2)

    def write(ours: Tensor) -> Tensor:
        return ours.unflatten(0, (3, c.heads, -1)).transpose(0, 1).flatten(0, 2)

    return {"attention.qkv": Layout(read, write)}


NAMES = Names(
    embedding="gpt_neox.embed_in",
    norm="gpt_neox.final_layer_norm",
    head="embed_out",
    layer="gpt_neox.layers.{}.",
    block={
        "attention.qkv": ("attention.query_key_value",),
        "attention.out": ("attention.dense",),
        "attention_norm": ("input_layernorm",),
        "mlp_norm": ("post_attention_layernorm",),
        "up": ("mlp.dense_h_to_4h",),
        "down": ("mlp.dense_4h_to_h",),
    },
    layout=_interleaved,
)


class StableLmConfig(LlamaConfig):
    head_dim: None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    layer_norm_eps: Epsilon = 1e-5
    use_qkv_bias: bool = False
    qk_layernorm: bool = False
    use_parallel_residual: bool = False


def _read_stablelm(config: StableLmConfig, folder: Path) -> TransformerConfig:
    refuse(folder, qk_layernorm=(config.qk_layernorm, False))
    return read_sizes(
        config, folder, partial_rotary=0.25, norm="layer", norm_eps=config.layer_norm_eps,
        qkv_bias=config.use_qkv_bias,
        residual="parallel, one norm" if config.use_parallel_residual else "in turn",
    )  # fmt: skip


def _write_stablelm(c: TransformerConfig) -> dict[str, Any]:
    return _write_common(c) | {"use_qkv_bias": c.qkv_bias, "qk_layernorm": False}


GPT_NEOX = make_family(
    "gpt_neox", "GPTNeoX", NeoXConfig, _read_neox, _write_neox, NAMES,
    renamed={"lm_head.weight": "embed_out.weight"},
    no_weights=r".*\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",
)  # fmt: skip
STABLELM = make_family("stablelm", "StableLm", StableLmConfig, _read_stablelm, _write_stablelm)
