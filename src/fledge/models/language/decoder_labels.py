"""A decoder that tells texts apart: a linear map of the hidden state of a row's last token, where
all of it has been read (Radford et al. 2018, §3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fledge.models.language.transformer import Transformer, TransformerConfig


@dataclass(frozen=True)
class DecoderLabelsConfig:
    """What is asked of an encoder's config where texts are labelled."""

    trunk: TransformerConfig
    labels: tuple[str, ...]
    classifier: str = "sequence"
    types: int = 0
    masked: bool = False

    @property
    def vocab_size(self) -> int:
        return self.trunk.vocab_size

    @property
    def context(self) -> int:
        return self.trunk.context

    @property
    def width(self) -> int:
        return self.trunk.width

    @property
    def layers(self) -> int:
        return self.trunk.layers

    @property
    def widest(self) -> int:
        return self.trunk.widest

    @property
    def parameters(self) -> int:
        return self.trunk.parameters + len(self.labels) * self.trunk.width


class DecoderLabels(nn.Module):
    """A transformer under `score` [L, D], which has no bias and begins at zero, so that all labels
    are as likely.
    """

    def __init__(self, network: Transformer, labels: Sequence[str]) -> None:
        super().__init__()
        self.network: Any = network
        self.config = DecoderLabelsConfig(network.config, tuple(labels))
        self.score = nn.Linear(network.config.width, len(labels), bias=False)
        nn.init.zeros_(self.score.weight)

    @property
    def unembedding(self) -> Tensor:
        """[V, D], of the right type and place."""
        return self.network.unembedding

    @property
    def gradient_checkpointing(self) -> bool:
        return self.network.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, wanted: bool) -> None:
        self.network.gradient_checkpointing = wanted

    def forward(self, tokens: Tensor, lengths: Tensor, types: Tensor | None = None) -> Tensor:
        """Hidden states; those behind a row's length are of padding.  [B, T], [B] -> [B, T, D]"""
        return self.network(tokens)

    def classify(
        self,
        tokens: Tensor,
        lengths: Tensor,
        types: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Tensor:
        """Logits of every label, of the last token by the row's length: where padding is the token
        that ends a text, looking for it would find one too early.  [B, T], [B] -> [B, L]
        """
        hidden = self(tokens, lengths)
        rows = torch.arange(len(tokens), device=tokens.device)
        last = hidden[rows, lengths.to(tokens.device).clamp(min=1) - 1]
        last = last.to(torch.promote_types(last.dtype, torch.float32))
        with torch.autocast(last.device.type, enabled=False):
            return self.score(last)
