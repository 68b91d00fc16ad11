"""Masked language modelling (Devlin et al. 2019, §3.1): log p(what stood there | all around it),
and whether the second of two texts follows the first.

sample: data, masked.  score: –.  weigh: 1.  fit: nll.  Each mean is over the whole optimizer step,
    and of two the sum is minimised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.learner import Learner
from fledge.models.language.encoder import Encoder
from fledge.sample.masked_rows import MaskedRows
from fledge.stopwatch import Stopwatch
from fledge.weights_version import count_changes


class MaskedModel(nn.Module):
    """What learns: the encoder, and with it a generator where it has one."""

    generator: Encoder | None

    def __init__(self, network: Encoder, generator: Encoder | None = None) -> None:
        super().__init__()
        self.network: Any = network
        count_changes(network)
        self.register_module("generator", generator)

    def read(self, rows: MaskedRows) -> Tensor:
        """Hidden states.  -> [B, T, D]"""
        return read_rows(self.network, rows, rows.tokens)


def read_rows(network: Encoder, rows: MaskedRows, tokens: Tensor) -> Tensor:
    """Of these tokens in place of those of the rows.  [B, T] -> [B, T, D]"""
    types = rows.types if network.config.types > 1 else None
    return network.read_documents(tokens, rows.size, types)


def masked_nll(network: Encoder, hidden: Tensor, rows: MaskedRows) -> tuple[Tensor, Tensor]:
    """−log p of each chosen token, in float32 at least, and whether it is the likeliest.  -> [N]
    twice
    """
    logits = _widen(network.masked_logits(hidden[rows.chosen]))
    target = rows.target[rows.chosen]
    right = logits.detach().argmax(-1) == target
    return F.cross_entropy(logits, target, reduction="none"), right


def next_nll(network: Encoder, hidden: Tensor, rows: MaskedRows) -> tuple[Tensor, Tensor]:
    """The same of whether the second text is another's, of the rows that have one.  -> [N] twice"""
    asked = rows.another >= 0
    logits = _widen(network.next_logits(hidden[asked], rows.size[asked]))
    target = rows.another[asked]
    right = logits.detach().argmax(-1) == target
    return F.cross_entropy(logits, target, reduction="none"), right


def _widen(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class Masked:
    unfinished = None  # an update is one optimizer step: there is nothing to be in the middle of

    def __init__(self, model: MaskedModel, learner: Learner, stopwatch: Stopwatch) -> None:
        self.model, self.learner, self.stopwatch = model, learner, stopwatch

    def update(
        self, batch: MaskedRows, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. masked_nats: a masked token; masked_accuracy: of them; next_nats and
        next_accuracy: of pairs.
        """
        count = self.learner.count(batch.chosen)
        asked = self.learner.count(batch.another >= 0)
        network = self.model.network

        def loss(rows: MaskedRows) -> tuple[Tensor, Mapping[str, Tensor]]:
            hidden = self.model.read(rows)
            nats, right = masked_nll(network, hidden, rows)
            share = nats.sum() / count
            figures = {"masked_nats": share, "masked_accuracy": right.sum() / count}
            if network.config.next:
                nats, right = next_nll(network, hidden, rows)
                figures |= {"next_nats": nats.sum() / asked, "next_accuracy": right.sum() / asked}
                share = share + figures["next_nats"]
            return share, figures

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"tokens": float(batch.count_actions())}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
