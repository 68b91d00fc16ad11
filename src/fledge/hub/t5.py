"""T5 (Raffel et al. 2020), its later version and mT5 (Xue et al. 2021): config.json and the names
of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.encoder_decoder_family import (
    Piece,
    is_encoder_decoder,
    make_encoder_decoder,
    name_linear,
    read_pair_tokenizer,
)
from fledge.hub.family import Family, ModelConfig, Weight
from fledge.hub.transformer_family import Epsilon, Layers, Size
from fledge.models.language.encoder_decoder_config import EncoderDecoderConfig

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
_PROJECTIONS = {"gelu_tanh": "gelu_new"}  # ours to the name that is written


class T5Config(ModelConfig):
    vocab_size: Size
    d_model: Size
    d_kv: Size
    d_ff: Size
    num_layers: Layers
    num_decoder_layers: Layers | None = None
    num_heads: Size
    relative_attention_num_buckets: Annotated[int, Field(ge=4, le=2**20)] = 32
    relative_attention_max_distance: Annotated[int, Field(ge=2, le=2**31)] = 128
    n_positions: Annotated[int, Field(ge=2, le=2**30)] = 512
    layer_norm_epsilon: Epsilon = 1e-6
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None
    pad_token_id: int = 0
    decoder_start_token_id: int | None = None


def _read(config: T5Config, folder: Path) -> EncoderDecoderConfig:
    kind = config.feed_forward_proj
    gated, name = kind.startswith("gated-"), kind.removeprefix("gated-")
    if kind == "gated-gelu":  # which `transformers` computes by tanh
        name = "gelu_new"
    if name not in _ACTIVATIONS:
        raise UserError(
            f"{folder} has feed_forward_proj={kind[:40]}: fledge reads T5 with "
            f"{', '.join(_ACTIVATIONS)}, alone or after gated-."
        )
    start, scaled = config.decoder_start_token_id, config.scale_decoder_outputs
    return EncoderDecoderConfig(
        vocab_size=config.vocab_size,
        start=config.pad_token_id if start is None else start,
        style="t5",
        context=2 * config.n_positions,
        encoder_layers=config.num_layers,
        decoder_layers=config.num_decoder_layers or config.num_layers,
        width=config.d_model,
        heads=config.num_heads,
        head_width=config.d_kv,
        mlp_width=config.d_ff,
        gated=gated,
        activation=_ACTIVATIONS[name],
        tied=config.tie_word_embeddings,
        # of earlier files the one says the other
        scaled_output=config.tie_word_embeddings if scaled is None else scaled,
        norm_eps=config.layer_norm_epsilon,
        buckets=config.relative_attention_num_buckets,
        max_distance=config.relative_attention_max_distance,
        family=config.model_type,
    )


def _adapt(c: EncoderDecoderConfig, weights: Mapping[str, Any]) -> EncoderDecoderConfig:
    """A head of its own is there, or it is the embedding: `transformers` reads files either way."""
    return replace(c, tied="lm_head.weight" not in weights)


def _write(c: EncoderDecoderConfig) -> dict[str, Any]:
    name = _PROJECTIONS.get(c.activation, c.activation)
    return {
        "vocab_size": c.vocab_size,
        "d_model": c.width,
        "d_kv": c.head_width,
        "d_ff": c.mlp_width,
        "num_layers": c.encoder_layers,
        "num_decoder_layers": c.decoder_layers,
        "num_heads": c.heads,
        "relative_attention_num_buckets": c.buckets,
        "relative_attention_max_distance": c.max_distance,
        "n_positions": c.context // 2,
        "layer_norm_epsilon": c.norm_eps,
        "feed_forward_proj": f"gated-{name}" if c.gated else name,
        "tie_word_embeddings": c.tied,
        "scale_decoder_outputs": c.scaled_output,
        "dropout_rate": 0.0,
        "is_encoder_decoder": True,
        "decoder_start_token_id": c.start,
    }


def _list_weights(c: EncoderDecoderConfig) -> Iterator[Weight]:
    shape = (c.vocab_size, c.width)
    yield Weight("embedding.weight", (("shared.weight", shape),))
    for side in ("encoder", "decoder"):  # the same once more, in files of earlier versions
        copy = ((f"{side}.embed_tokens.weight", shape),)
        yield Weight(f"{side}_embedding.weight", copy, needed=False)
    yield Weight("head.weight", (("lm_head.weight", shape),), needed=False)
    for side, layers, heads, wide in (
        ("encoder", c.encoder_layers, c.heads, c.mlp_width),
        ("decoder", c.decoder_layers, c.decoder_heads, c.decoder_mlp_width),
    ):
        name = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield Weight(f"{side}_bias.weight", ((name, (c.buckets, heads)),))
        yield Weight(f"{side}_norm.weight", ((f"{side}.final_layer_norm.weight", (c.width,)),))
        for layer in range(layers):
            parts = _list_parts(c, side, heads * c.head_width, wide)
            for part in parts:
                begin = f"{side}.block.{layer}.layer."
                yield from name_linear(f"{side}.{layer}.{part.ours}", begin, part, biased=False)


def _list_parts(c: EncoderDecoderConfig, side: str, inner: int, wide: int) -> Iterator[Piece]:
    w = c.width
    attentions = [("attention", "0.", "SelfAttention")]
    if side == "decoder":
        attentions.append(("cross", "1.", "EncDecAttention"))
    for ours, place, theirs in attentions:
        begin = f"{place}{theirs}."
        yield Piece(f"{ours}.query", (f"{begin}q",), (inner, w))
        yield Piece(f"{ours}.key_value", (f"{begin}k", f"{begin}v"), (inner, w))
        yield Piece(f"{ours}.out", (f"{begin}o",), (w, inner))
        yield Piece(f"{ours}_norm", (f"{place}layer_norm",), (w,))
    last = f"{len(attentions)}."
    ups = ("wi_0", "wi_1") if c.gated else ("wi",)
    yield Piece("mlp.up", tuple(f"{last}DenseReluDense.{up}" for up in ups), (wide, w))
    yield Piece("mlp.down", (f"{last}DenseReluDense.wo",), (w, wide))
    yield Piece("mlp_norm", (f"{last}layer_norm",), (w,))


def _make(model_type: str, name: str) -> Family:
    return Family(
        model_type=model_type,
        name=name,
        config=T5Config,
        read_config=_read,
        write_config=_write,
        weights=_list_weights,
        build=make_encoder_decoder,
        builds=is_encoder_decoder("t5"),
        adapt=_adapt,
        causal_class=f"{name}ForConditionalGeneration",
        tokenizer=read_pair_tokenizer,
    )


T5, MT5 = _make("t5", "T5"), _make("mt5", "MT5")
