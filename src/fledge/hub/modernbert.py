"""ModernBERT (Warner et al. 2024): rotary positions with two bases, norms before each part, gated
MLPs, local and global attention in turn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.hub.encoder_family import SavedEncoder, make_encoder_family, read_activation
from fledge.hub.encoder_weights import EncoderNames
from fledge.hub.family import Part, Positive
from fledge.hub.transformer_family import Epsilon, Layers, Size, Window, refuse, write_activation
from fledge.models.language.encoder_config import EncoderConfig

_NAMES = EncoderNames(
    trunk={
        "embedding": "model.embeddings.tok_embeddings",
        "embedding_norm": "model.embeddings.norm",
        "norm": "model.final_norm",
    },
    layer="model.layers.{}.",
    block={
        "qkv": ("attn.Wqkv",),
        "out": ("attn.Wo",),
        "attention_norm": ("attn_norm",),
        "up": ("mlp.Wi",),
        "down": ("mlp.Wo",),
        "mlp_norm": ("mlp_norm",),
    },
    heads={
        "transform": "head.dense",
        "transform_norm": "head.norm",
        "decoder": "decoder",
        "decoder_bias": "decoder.bias",
        "classifier": "classifier",
    },
)


class _Rope(Part):
    rope_type: str = "default"
    rope_theta: Positive | None = None


class _Ropes(Part):
    full_attention: _Rope = _Rope()
    sliding_attention: _Rope = _Rope()


class ModernBertConfig(SavedEncoder):
    vocab_size: Size
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    intermediate_size: Size
    hidden_activation: str = "gelu"
    max_position_embeddings: Size = 8192
    norm_eps: Epsilon = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    decoder_bias: bool = True
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    classifier_pooling: str = "cls"
    local_attention: Window = 128
    layer_types: list[str] | None = None
    global_attn_every_n_layers: Size = 3  # of earlier versions, with both bases
    global_rope_theta: Positive | None = None
    local_rope_theta: Positive | None = None
    rope_parameters: _Ropes = _Ropes()


def _read(config: ModernBertConfig, folder: Path) -> EncoderConfig:
    ropes, kind = config.rope_parameters, config.classifier
    refuse(
        folder,
        rope_type=(ropes.full_attention.rope_type, "default"),
        local_rope_type=(ropes.sliding_attention.rope_type, "default"),
    )
    pooling = config.classifier_pooling
    if pooling not in ("cls", "mean"):
        raise UserError(f"{folder} has classifier_pooling={pooling[:40]}: it is cls or mean.")
    try:
        return EncoderConfig(
            vocab_size=config.vocab_size,
            context=config.max_position_embeddings,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            mlp_width=config.intermediate_size,
            tied=config.tie_word_embeddings,
            learned_positions=False,
            types=0,
            norm_first=True,
            norm_eps=config.norm_eps,
            norm_bias=config.norm_bias,
            attention_bias=config.attention_bias,
            mlp_bias=config.mlp_bias,
            gated=True,
            activation=read_activation("hidden_activation", config.hidden_activation, folder),
            rope_theta=ropes.full_attention.rope_theta or config.global_rope_theta or 160_000.0,
            local_rope_theta=(
                ropes.sliding_attention.rope_theta or config.local_rope_theta or 10_000.0
            ),
            window=config.local_attention // 2,
            local_layers=_read_local(config, folder),
            transform=True,
            transform_bias=config.classifier_bias,
            transform_activation=read_activation(
                "classifier_activation", config.classifier_activation, folder
            ),
            masked=not kind,
            decoder_bias=config.decoder_bias,
            pooling="first" if pooling == "cls" else "mean",
            classifier=kind,
            labels=config.labels,
            family="modernbert",
        )
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _read_local(config: ModernBertConfig, folder: Path) -> tuple[int, ...]:
    """The layers that look at what is near alone. Raises UserError."""
    kinds, layers = config.layer_types, config.num_hidden_layers
    if kinds is None:
        every = config.global_attn_every_n_layers
        return tuple(layer for layer in range(layers) if layer % every)
    if len(kinds) != layers or set(kinds) - {"full_attention", "sliding_attention"}:
        raise UserError(
            f"{folder / 'config.json'} has layer_types that are not full_attention or "
            f"sliding_attention for each of {layers} layers: write the model again."
        )
    return tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def _write(c: EncoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "intermediate_size": c.mlp_width,
        "hidden_activation": write_activation(c.activation),
        "max_position_embeddings": c.context,
        "norm_eps": c.norm_eps,
        "norm_bias": c.norm_bias,
        "attention_bias": c.attention_bias,
        "mlp_bias": c.mlp_bias,
        "decoder_bias": c.decoder_bias,
        "classifier_bias": c.transform_bias,
        "classifier_activation": write_activation(c.transform_activation),
        "classifier_pooling": "cls" if c.pooling == "first" else "mean",
        "local_attention": 2 * c.window,
        "layer_types": [
            "sliding_attention" if c.is_local(layer) else "full_attention"
            for layer in range(c.layers)
        ],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": c.rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": c.local_rope_theta},
        },
    }


MODERNBERT = make_encoder_family(
    "modernbert", "ModernBert", ModernBertConfig, _read, _write, _NAMES, no_weights=r"",
)  # fmt: skip
