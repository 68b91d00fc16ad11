"""What an encoder says of sentences: logits of labels, of tags of words, of choices; and the vector
of a sentence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.language.encoder import Encoder
from fledge.models.language.sentence_vectors import Pooling, pool
from fledge.sample.sentences import (
    AlikePairs,
    ChoiceRows,
    LabelledSentences,
    Sentences,
    TaggedSentences,
)
from fledge.trajectories import Rows


def read(encoder: Encoder, sentences: Sentences) -> Tensor:
    """Hidden states.  -> [B, T, D]"""
    return encoder(sentences.tokens, sentences.length, _types(encoder, sentences))


def list_sentences(rows: Rows) -> list[Sentences]:
    """All that is read of a batch."""
    if isinstance(rows, AlikePairs):
        return [rows.anchor, rows.positive]
    if isinstance(rows, ChoiceRows):
        return [rows.each()[0]]
    assert isinstance(rows, LabelledSentences | TaggedSentences)
    return [rows.sentences]


def read_all(encoder: Encoder, rows: Rows) -> Tensor:
    """What costs as much as a loss on these rows does."""
    return sum(
        (read(encoder, each).float().mean() for each in list_sentences(rows)),
        start=next(encoder.parameters()).new_zeros(()),
    )


def score_labels(encoder: Encoder, rows: Rows) -> Tensor:
    """Logits of every label: [B, L] of sentences, [B, T, L] of words, [B, K] of choices, −inf where
    there is no choice.
    """
    if isinstance(rows, TaggedSentences):
        return encoder.tag_logits(read(encoder, rows.sentences))
    if isinstance(rows, LabelledSentences):
        return _classify(encoder, rows.sentences)
    assert isinstance(rows, ChoiceRows)
    sentences, there = rows.each()
    scores = _classify(encoder, sentences, there.nonzero()[:, 0])[:, 0]  # [N]
    return scores.new_full(there.shape, -torch.inf).masked_scatter(there, scores)


def _classify(encoder: Encoder, sentences: Sentences, owner: Tensor | None = None) -> Tensor:
    types = _types(encoder, sentences)
    return encoder.classify(sentences.tokens, sentences.length, types, owner)


def _types(encoder: Encoder, sentences: Sentences) -> Tensor | None:
    return sentences.types if encoder.config.types > 1 else None


def embed(encoder: Encoder, sentences: Sentences, pooling: Pooling) -> Tensor:
    """In fp32 or finer.  -> [B, D]"""
    hidden = read(encoder, sentences)
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    return pool(hidden, sentences.length, pooling)
