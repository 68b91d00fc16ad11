"""Sentences in batches: every pass over them in an order of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fledge.sample.conversations import Shuffled
from fledge.text.sentences import SentenceRows


class SentenceBatches:
    """The position is one integer, batches given so far: what batch i holds is a pure function of
    (seed, i).
    """

    def __init__(self, rows: SentenceRows, rows_per_step: int, seed: int) -> None:
        self.rows, self.rows_per_step = rows, rows_per_step
        self.order = Shuffled(range(len(rows)), seed)
        self.position, self.figures = 0, {}

    def __next__(self) -> SentenceRows:
        places = self.order.places(self.position * self.rows_per_step, self.rows_per_step)
        self.position += 1
        return self.rows[torch.from_numpy(places)].trim()

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
