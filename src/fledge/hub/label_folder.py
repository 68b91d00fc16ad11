"""Folders of decoders that label: a Hugging Face ForSequenceClassification of several labels, whole
or as an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fledge.errors import UserError
from fledge.hub.encoder_adapter import NOTE
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.transformer import Transformer


def name_labels(network: DecoderLabels) -> dict[str, Any]:
    """For config.json."""
    labels = network.config.labels
    return {
        "num_labels": len(labels),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def note_labels(network: DecoderLabels) -> dict[str, Any]:
    """For the notes of an adapter, of which PEFT's config knows none."""
    return {NOTE: {"kind": "sequence", "labels": list(network.config.labels)}}


def counts_labels(config: Mapping[str, Any]) -> int:
    """How many labels a config.json tells apart."""
    return len(config.get("id2label") or range(config.get("num_labels") or 1))


def stand_labels(
    network: Any, score: Tensor, config: Mapping[str, Any], place: str
) -> DecoderLabels:
    """The trunk under the score of so many labels, by the names that the folder has for them.
    Raises UserError for a network that is no decoder-only transformer.
    """
    if not isinstance(network, Transformer) or network.lead:
        raise UserError(
            f"{place} has a score of {len(score)} labels on a {type(network).__name__}, where "
            "fledge computes none: give a decoder such as Llama, or an encoder."
        )
    named = config.get(NOTE, {}).get("labels") or list((config.get("id2label") or {}).values())
    if len(named) != len(score):
        named = [f"LABEL_{i}" for i in range(len(score))]
    labelled = DecoderLabels(network, named)
    labelled.score.weight.data.copy_(score)
    return labelled.eval()
