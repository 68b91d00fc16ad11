"""BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019), DistilBERT (Sanh et al. 2019) and ELECTRA
(Clark et al. 2020) in Hugging Face's layout: learned positions, norms behind each part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.encoder_family import SavedEncoder, make_encoder_family, read_activation
from fledge.hub.encoder_weights import EncoderNames
from fledge.hub.transformer_family import Epsilon, Layers, Size, refuse, write_activation
from fledge.models.language.encoder_config import EncoderConfig

Share = Annotated[float, Field(ge=0, lt=1)]  # of units


class BertConfig(SavedEncoder):
    vocab_size: Size
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    intermediate_size: Size
    hidden_act: str = "gelu"
    max_position_embeddings: Size
    type_vocab_size: Size = 2
    layer_norm_eps: Epsilon = 1e-12
    position_embedding_type: str = "absolute"
    pad_token_id: int | None = None
    embedding_size: Size | None = None  # of ELECTRA
    hidden_dropout_prob: Share = 0.0


class DistilBertConfig(SavedEncoder):
    vocab_size: Size
    dim: Size
    n_layers: Layers
    n_heads: Size
    hidden_dim: Size
    activation: str = "gelu"
    max_position_embeddings: Size
    dropout: Share = 0.0


def _name_bert(prefix: str, heads: dict[str, str]) -> EncoderNames:
    embedded, attention = f"{prefix}.embeddings.", "attention.self."
    return EncoderNames(
        trunk={
            "embedding": f"{embedded}word_embeddings",
            "place": f"{embedded}position_embeddings",
            "token_type": f"{embedded}token_type_embeddings",
            "embedding_norm": f"{embedded}LayerNorm",
            "project": f"{prefix}.embeddings_project",
        },
        layer=f"{prefix}.encoder.layer.{{}}.",
        block={
            "qkv": (f"{attention}query", f"{attention}key", f"{attention}value"),
            "out": ("attention.output.dense",),
            "attention_norm": ("attention.output.LayerNorm",),
            "up": ("intermediate.dense",),
            "down": ("output.dense",),
            "mlp_norm": ("output.LayerNorm",),
        },
        heads=heads,
    )


_BERT = _name_bert(
    "bert",
    {
        "pooler": "bert.pooler.dense",
        "transform": "cls.predictions.transform.dense",
        "transform_norm": "cls.predictions.transform.LayerNorm",
        "decoder_bias": "cls.predictions.bias",
        "follows": "cls.seq_relationship",
        "classifier": "classifier",
    },
)
_ROBERTA = _name_bert(
    "roberta",
    {
        "pooler": "roberta.pooler.dense",
        "pooler sequence": "classifier.dense",
        "transform": "lm_head.dense",
        "transform_norm": "lm_head.layer_norm",
        "decoder_bias": "lm_head.bias",
        "classifier": "classifier",
        "classifier sequence": "classifier.out_proj",
    },
)
_ELECTRA = _name_bert(
    "electra",
    {
        "pooler sequence": "classifier.dense",
        "pooler choice": "sequence_summary.summary",
        "transform": "generator_predictions.dense",
        "transform_norm": "generator_predictions.LayerNorm",
        "decoder_bias": "generator_lm_head.bias",
        "detector": "discriminator_predictions.dense",
        "detected": "discriminator_predictions.dense_prediction",
        "classifier": "classifier",
        "classifier sequence": "classifier.out_proj",
    },
)
_DISTILBERT = EncoderNames(
    trunk={
        "embedding": "distilbert.embeddings.word_embeddings",
        "place": "distilbert.embeddings.position_embeddings",
        "embedding_norm": "distilbert.embeddings.LayerNorm",
    },
    layer="distilbert.transformer.layer.{}.",
    block={
        "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "out": ("attention.out_lin",),
        "attention_norm": ("sa_layer_norm",),
        "up": ("ffn.lin1",),
        "down": ("ffn.lin2",),
        "mlp_norm": ("output_layer_norm",),
    },
    heads={
        "pooler": "pre_classifier",
        "transform": "vocab_transform",
        "transform_norm": "vocab_layer_norm",
        "decoder_bias": "vocab_projector.bias",
        "classifier": "classifier",
    },
)


def _read(config: BertConfig | DistilBertConfig, folder: Path, **own: Any) -> EncoderConfig:
    """own: what the family's config says by other names, and its heads."""
    refuse(
        folder,
        is_decoder=(config.is_decoder, False),
        add_cross_attention=(config.add_cross_attention, False),
        tie_word_embeddings=(config.tie_word_embeddings, True),
    )
    kind = config.classifier
    try:
        return EncoderConfig(
            vocab_size=config.vocab_size,
            family=config.model_type,
            classifier=kind,
            labels=config.labels,
            masked=not kind,
            transform=not kind,
            **own,
        )
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _read_bert_sizes(config: BertConfig, folder: Path) -> dict[str, Any]:
    refuse(folder, position_embedding_type=(config.position_embedding_type, "absolute"))
    activation = read_activation("hidden_act", config.hidden_act, folder)
    roberta = config.model_type == "roberta"
    first = 1 + (1 if config.pad_token_id is None else config.pad_token_id) if roberta else 0
    return {
        "context": config.max_position_embeddings - first,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "mlp_width": config.intermediate_size,
        "first_position": first,
        "types": config.type_vocab_size,
        "norm_eps": config.layer_norm_eps,
        "dropout": config.hidden_dropout_prob,
        "activation": activation,
        # RoBERTa's and ELECTRA's heads have gelu, whatever the layers have.
        "transform_activation": activation if config.model_type == "bert" else "gelu",
    }


def _read_bert(config: BertConfig, folder: Path) -> EncoderConfig:
    kind, sizes = config.classifier, _read_bert_sizes(config, folder)
    return _read(config, folder, pooler=kind != "token", next=not kind, **sizes)


def _read_roberta(config: BertConfig, folder: Path) -> EncoderConfig:
    sizes = _read_bert_sizes(config, folder)
    return _read(config, folder, pooler=config.classifier != "token", **sizes)


def _read_electra(config: BertConfig, folder: Path) -> EncoderConfig:
    kind, sizes = config.classifier, _read_bert_sizes(config, folder)
    narrow = config.embedding_size or 128  # as `transformers` 5.24 has it
    sizes["embedding_width"] = narrow if narrow != config.hidden_size else 0
    return _read(
        config, folder, pooler=kind in ("sequence", "choice"), pooler_activation="gelu",
        replaced=not kind, **sizes,
    )  # fmt: skip


def _read_distilbert(config: DistilBertConfig, folder: Path) -> EncoderConfig:
    activation = read_activation("activation", config.activation, folder)
    return _read(
        config, folder, pooler=config.classifier in ("sequence", "choice"),
        pooler_activation="relu", context=config.max_position_embeddings, layers=config.n_layers,
        width=config.dim, heads=config.n_heads, mlp_width=config.hidden_dim, types=0,
        dropout=config.dropout,
        activation=activation, transform_activation=activation,
    )  # fmt: skip


def _write_bert(c: EncoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "intermediate_size": c.mlp_width,
        "hidden_act": write_activation(c.activation),
        "max_position_embeddings": c.first_position + c.context,
        "type_vocab_size": c.types,
        "layer_norm_eps": c.norm_eps,
        "hidden_dropout_prob": c.dropout,
    }


def _write_roberta(c: EncoderConfig) -> dict[str, Any]:
    # Its positions are counted from the padding's id on.
    return _write_bert(c) | {"pad_token_id": c.first_position - 1}


def _write_electra(c: EncoderConfig) -> dict[str, Any]:
    return _write_bert(c) | {"embedding_size": c.embedded}


def _write_distilbert(c: EncoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": c.vocab_size,
        "dim": c.width,
        "n_layers": c.layers,
        "n_heads": c.heads,
        "hidden_dim": c.mlp_width,
        "activation": write_activation(c.activation),
        "max_position_embeddings": c.context,
        "dropout": c.dropout,
    }


# The embedding once more, and a table of numbers from 0 on.
_COPIES = r".*position_ids|.*(decoder|vocab_projector|generator_lm_head)\.weight|.*decoder\.bias"

BERT = make_encoder_family(
    "bert", "Bert", BertConfig, _read_bert, _write_bert, _BERT, _COPIES
)  # fmt: skip
ROBERTA = make_encoder_family(
    "roberta", "Roberta", BertConfig, _read_roberta, _write_roberta, _ROBERTA, _COPIES
)
ELECTRA = make_encoder_family(
    "electra", "Electra", BertConfig, _read_electra, _write_electra, _ELECTRA, _COPIES
)
DISTILBERT = make_encoder_family(
    "distilbert", "DistilBert", DistilBertConfig, _read_distilbert, _write_distilbert, _DISTILBERT,
    _COPIES,
)  # fmt: skip
