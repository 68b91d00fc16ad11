"""BART (Lewis et al. 2020): config.json and the names of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fledge.hub.encoder_decoder_family import (
    Piece,
    is_encoder_decoder,
    make_encoder_decoder,
    name_linear,
    read_pair_tokenizer,
)
from fledge.hub.family import Family, ModelConfig, Weight
from fledge.hub.transformer_family import Layers, Size, read_activation, refuse
from fledge.models.language.encoder_decoder_config import OFFSET, EncoderDecoderConfig


class BartConfig(ModelConfig):
    vocab_size: Size
    d_model: Size
    max_position_embeddings: Size
    encoder_layers: Layers
    decoder_layers: Layers
    encoder_attention_heads: Size
    decoder_attention_heads: Size
    encoder_ffn_dim: Size
    decoder_ffn_dim: Size
    activation_function: str = "gelu"
    scale_embedding: bool = False
    tie_word_embeddings: bool = True
    decoder_start_token_id: int = 2
    normalize_before: bool = False
    add_final_layer_norm: bool = False


def _read(config: BartConfig, folder: Path) -> EncoderDecoderConfig:
    refuse(
        folder,
        normalize_before=(config.normalize_before, False),
        add_final_layer_norm=(config.add_final_layer_norm, False),
        tie_word_embeddings=(config.tie_word_embeddings, True),
    )
    activation = "relu"
    if config.activation_function != "relu":
        activation = read_activation("activation_function", config.activation_function, folder)
    return EncoderDecoderConfig(
        vocab_size=config.vocab_size,
        start=config.decoder_start_token_id,
        style="bart",
        context=config.max_position_embeddings,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        width=config.d_model,
        heads=config.encoder_attention_heads,
        decoder_heads=config.decoder_attention_heads,
        mlp_width=config.encoder_ffn_dim,
        decoder_mlp_width=config.decoder_ffn_dim,
        gated=False,
        activation=activation,
        embedding_scale=math.sqrt(config.d_model) if config.scale_embedding else 1.0,
        norm_eps=1e-5,
        family=config.model_type,
    )


def _write(c: EncoderDecoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "d_model": c.width,
        "max_position_embeddings": c.context,
        "encoder_layers": c.encoder_layers,
        "decoder_layers": c.decoder_layers,
        "encoder_attention_heads": c.heads,
        "decoder_attention_heads": c.decoder_heads,
        "encoder_ffn_dim": c.mlp_width,
        "decoder_ffn_dim": c.decoder_mlp_width,
        "activation_function": {"gelu_tanh": "gelu_new"}.get(c.activation, c.activation),
        "scale_embedding": c.embedding_scale != 1.0,
        "tie_word_embeddings": True,
        "dropout": 0.0,
        "is_encoder_decoder": True,
        "decoder_start_token_id": c.start,
        "forced_eos_token_id": None,
    }


def _list_weights(c: EncoderDecoderConfig) -> Iterator[Weight]:
    shape, places = (c.vocab_size, c.width), (c.context + OFFSET, c.width)
    yield Weight("embedding.weight", (("model.shared.weight", shape),))
    yield Weight("head.weight", (("lm_head.weight", shape),), needed=False)
    yield Weight("logits_bias", (("final_logits_bias", (1, c.vocab_size)),))
    for side, layers, wide in (
        ("encoder", c.encoder_layers, c.mlp_width),
        ("decoder", c.decoder_layers, c.decoder_mlp_width),
    ):
        begin = f"model.{side}."
        # the same once more, in files of earlier versions
        copy = ((f"{begin}embed_tokens.weight", shape),)
        yield Weight(f"{side}_embedding.weight", copy, needed=False)
        yield Weight(f"{side}_place.weight", ((f"{begin}embed_positions.weight", places),))
        norm = Piece(f"{side}_norm", ("layernorm_embedding",), (c.width,))
        yield from name_linear(norm.ours, begin, norm, biased=True)
        for layer in range(layers):
            for part in _list_parts(c, side, wide):
                within = f"{begin}layers.{layer}."
                yield from name_linear(f"{side}.{layer}.{part.ours}", within, part, biased=True)


def _list_parts(c: EncoderDecoderConfig, side: str, wide: int) -> Iterator[Piece]:
    w = c.width
    attentions = [("attention", "self_attn")]
    if side == "decoder":
        attentions.append(("cross", "encoder_attn"))
    for ours, theirs in attentions:
        yield Piece(f"{ours}.query", (f"{theirs}.q_proj",), (w, w))
        yield Piece(f"{ours}.key_value", (f"{theirs}.k_proj", f"{theirs}.v_proj"), (w, w))
        yield Piece(f"{ours}.out", (f"{theirs}.out_proj",), (w, w))
        yield Piece(f"{ours}_norm", (f"{theirs}_layer_norm",), (w,))
    yield Piece("mlp.up", ("fc1",), (wide, w))
    yield Piece("mlp.down", ("fc2",), (w, wide))
    yield Piece("mlp_norm", ("final_layer_norm",), (w,))


BART = Family(
    model_type="bart",
    name="Bart",
    config=BartConfig,
    read_config=_read,
    write_config=_write,
    weights=_list_weights,
    build=make_encoder_decoder,
    builds=is_encoder_decoder("bart"),
    causal_class="BartForConditionalGeneration",
    tokenizer=read_pair_tokenizer,
)
