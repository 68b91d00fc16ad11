"""Gemma 1, 2 and 3, of text (Gemma Team 2024, 2024b, 2025): norms whose weight counts from 1, and
scaled embeddings; since 2 norms around each part, capped scores and logits, alternating windows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.family import Part, Positive
from fledge.hub.rope_config import Rope, read_scaling, write_rope
from fledge.hub.transformer_family import (
    LlamaConfig,
    Size,
    Window,
    make_family,
    read_activation,
    read_sizes,
    read_windows,
    refuse,
    write_activation,
    write_layer_types,
    write_sizes,
)
from fledge.hub.weight_names import LLAMA_NAMES
from fledge.models.language.rope_scaling import UNSCALED
from fledge.models.language.transformer import TransformerConfig

Cap = Annotated[float, Field(gt=1e-3, lt=1e6)]


class GemmaConfig(LlamaConfig):
    head_dim: Size | None = 256
    tie_word_embeddings: bool = True
    hidden_act: str = "gelu_pytorch_tanh"
    use_bidirectional_attention: bool | None = None


def _read_common(config: GemmaConfig, folder: Path, **changes: Any) -> TransformerConfig:
    refuse(folder, use_bidirectional_attention=(bool(config.use_bidirectional_attention), False))
    return read_sizes(
        config, folder, norm="rms_from_one", embedding_scale=math.sqrt(config.hidden_size),
        qkv_bias=config.attention_bias, out_bias=config.attention_bias, **changes,
    )  # fmt: skip


def _read_gemma(config: GemmaConfig, folder: Path) -> TransformerConfig:
    # The first files say gelu, and mean its approximation by tanh.
    said = "gelu_pytorch_tanh" if config.hidden_act == "gelu" else config.hidden_act
    return _read_common(config, folder, activation=read_activation("hidden_act", said, folder))


class Gemma2Config(GemmaConfig):
    hidden_activation: str = "gelu_pytorch_tanh"
    query_pre_attn_scalar: Annotated[float, Field(gt=1e-3, lt=1e9)] = 256
    sliding_window: Window | None = 4096
    layer_types: list[str] | None = None
    final_logit_softcapping: Cap | None = 30.0
    attn_logit_softcapping: Cap | None = 50.0


def _read_newer(
    config: Gemma2Config, folder: Path, pattern: int, **changes: Any
) -> TransformerConfig:
    """pattern: one layer in so many sees all, where the config has no list."""
    layers, head = config.num_hidden_layers, config.head_dim or 0
    kinds = config.layer_types
    if kinds is None:
        kinds = ["sliding_attention" if (layer + 1) % pattern else "full_attention"
                 for layer in range(layers)]  # fmt: skip
    scalar = config.query_pre_attn_scalar
    return _read_common(
        config, folder, norm_places="around",
        activation=read_activation("hidden_activation", config.hidden_activation, folder),
        score_scale=0.0 if scalar == head else scalar**-0.5,
        score_cap=config.attn_logit_softcapping or 0.0,
        logit_cap=config.final_logit_softcapping or 0.0,
        windows=read_windows(config.sliding_window, kinds, layers, folder),
        **changes,
    )  # fmt: skip


def _read_gemma2(config: Gemma2Config, folder: Path) -> TransformerConfig:
    return _read_newer(config, folder, pattern=2)


def _write_newer(c: TransformerConfig) -> dict[str, Any]:
    scalar = round(c.score_scale**-2, 6) if c.score_scale else c.head_width
    return write_sizes(c) | {
        "hidden_activation": write_activation(c.activation),
        "query_pre_attn_scalar": int(scalar) if scalar == int(scalar) else scalar,
        "sliding_window": max((c.window, *c.windows)) or None,
        "layer_types": write_layer_types(c),
        "final_logit_softcapping": c.logit_cap or None,
        "attn_logit_softcapping": c.score_cap or None,
    }


class RopeByKind(Part):
    full_attention: Rope | None = None
    sliding_attention: Rope | None = None


class Gemma3Config(Gemma2Config):
    # since version 5 of `transformers` by the kind of layer
    rope_parameters: RopeByKind | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    rope_local_base_freq: Positive | None = None
    sliding_window_pattern: Annotated[int, Field(ge=1)] = 6
    final_logit_softcapping: Cap | None = None
    # `transformers` (5.24) has the entry, and caps no scores.
    attn_logit_softcapping: None = None  # pyright: ignore[reportIncompatibleVariableOverride]


def _read_gemma3(config: Gemma3Config, folder: Path) -> TransformerConfig:
    kinds = config.rope_parameters or RopeByKind()
    every, local = kinds.full_attention or Rope(), kinds.sliding_attention or Rope()
    if config.rope_scaling is not None:  # of earlier versions: of layers that see all
        every = every.model_copy(update=config.rope_scaling.model_dump(exclude_unset=True))
    if local.kind != "default":
        raise UserError(
            f"{folder} scales the rotary positions of its layers with a window ({local.kind}): "
            "fledge reads models that do so in the others only."
        )
    plain = config.model_copy(update={"rope_parameters": None, "rope_scaling": None})
    head, context = config.head_dim or 0, config.max_position_embeddings
    return _read_newer(
        plain, folder, config.sliding_window_pattern, qk_norm=True,
        rope_theta=every.rope_theta or config.rope_theta or 1_000_000.0,
        scaling=read_scaling(every, context, head, folder, kinds=("default", "linear")),
        local_rope_theta=local.rope_theta or config.rope_local_base_freq or 10_000.0,
    )  # fmt: skip


def _write_gemma3(c: TransformerConfig) -> dict[str, Any]:
    by_kind = {
        "full_attention": write_rope(c.rope_theta, c.scaling),
        "sliding_attention": write_rope(c.local_rope_theta or c.rope_theta, UNSCALED),
    }
    return _write_newer(c) | {"rope_parameters": by_kind, "use_bidirectional_attention": False}


AROUND = replace(
    LLAMA_NAMES,
    block={
        **LLAMA_NAMES.block,
        "attention_out_norm": ("post_attention_layernorm",),
        "mlp_norm": ("pre_feedforward_layernorm",),
        "mlp_out_norm": ("post_feedforward_layernorm",),
    },
)
GEMMA = make_family("gemma", "Gemma", GemmaConfig, _read_gemma, write_sizes)
GEMMA2 = make_family("gemma2", "Gemma2", Gemma2Config, _read_gemma2, _write_newer, AROUND)
GEMMA3 = make_family(
    "gemma3_text", "Gemma3", Gemma3Config, _read_gemma3, _write_gemma3, AROUND,
    scalar_class="Gemma3TextForSequenceClassification",
)  # fmt: skip
