"""Encoders that a server answers /v1/embeddings with: one forward pass at a time, in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.hub.sentence_texts import frame_ids
from fledge.models.language.encoder import Encoder
from fledge.models.language.sentence_vectors import PLAIN_MEAN, embed_rows
from fledge.serve.api_errors import ApiError
from fledge.text.tokenizer import Tokenizer

ROWS = 64  # that one pass reads, before others have their turn


@dataclass(frozen=True)
class ServedEncoder:
    """A model that gives vectors, and writes none. queue: requests that may wait."""

    name: str
    loaded: Loaded
    queue: int = 256
    threads: int | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    # A thread that is new begins with what an engine beside it has set last.
    _all_threads: int = field(default_factory=torch.get_num_threads)
    _waiting: set[object] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.loaded.tokenizer

    @property
    def network(self) -> Encoder:
        return self.loaded.network

    @property
    def vocab_size(self) -> int:
        return self.network.config.vocab_size

    @property
    def positions(self) -> int:
        """Tokens of a text, with what stands around it."""
        return self.network.config.context

    @cached_property
    def most_characters(self) -> int:
        """No text that is read whole has more; of one that is cut, what is read is far less."""
        return self.positions * max(map(len, self.tokenizer.vocabulary))

    def frame(self, given: str | list[int]) -> list[int]:
        """The row of a text or of its ids. Raises ApiError."""
        try:
            ids = self.tokenizer.encode(given) if isinstance(given, str) else given
            return frame_ids(self.loaded, ids)
        except UserError as error:
            raise ApiError(400, str(error), param="input") from None

    async def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector for each row. Raises ApiError where as many requests wait as may."""
        if len(self._waiting) > self.queue:
            raise ApiError(
                429, f"{self.queue} requests wait already: try again in a second.",
                code="queue_full", headers={"retry-after": "1"},
            )  # fmt: skip
        own = object()
        self._waiting.add(own)
        try:
            vectors: list[list[float]] = []
            for begin in range(0, len(rows), ROWS):
                async with self._turn:
                    vectors += await asyncio.to_thread(self._embed, rows[begin : begin + ROWS])
            return vectors
        finally:
            self._waiting.discard(own)

    def _embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        torch.set_num_threads(self.threads or self._all_threads)
        return embed_rows(self.network, rows, self.loaded.pooling or PLAIN_MEAN).tolist()
