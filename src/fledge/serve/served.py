"""The models that a server answers with, by name: each a loaded model with an engine loop of its
own; adapters of one base share its weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.packed_weights import PackedWeights
from fledge.hub.folder import Loaded
from fledge.models.language.heads import ScalarModel
from fledge.recipes.look.sample import spell_tokens
from fledge.serve.api_errors import ApiError
from fledge.serve.encoders import ServedEncoder
from fledge.serve.engine_loop import EngineLoop
from fledge.serve.players import ServedPlayer
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Served:
    """A model that speaks. words: the bytes of each token of the network."""

    name: str
    loaded: Loaded
    loop: EngineLoop
    words: list[bytes]
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.loaded.tokenizer

    @property
    def network(self) -> Any:
        return self.loaded.network

    @property
    def positions(self) -> int:
        """Tokens of a slot, prompt and answer together."""
        return self.loop.engine.positions

    @cached_property
    def most_characters(self) -> int:
        """No text that fits into a slot has more. Some tokenizers take minutes for a megabyte
        without spaces, so what has more is not even read.
        """
        return self.positions * max(map(len, self.words))

    @property
    def vocab_size(self) -> int:
        return self.network.config.vocab_size


@dataclass(frozen=True)
class ServedReward:
    """A model that scores answers, and writes none."""

    name: str
    loaded: Loaded
    model: ScalarModel


@dataclass(frozen=True)
class ServedModels:
    """By name; the first that speaks is the one that answers where none is named."""

    models: Mapping[str, Served]
    rewards: Mapping[str, ServedReward] = field(default_factory=dict)
    encoders: Mapping[str, ServedEncoder] = field(default_factory=dict)
    players: Mapping[str, ServedPlayer] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of those that answer, players on the page alone."""
        return [*self.models, *self.encoders, *self.players]

    @property
    def default(self) -> Served:
        """Raises ApiError where nothing speaks."""
        if not self.models:
            what = (
                f"{', '.join(self.encoders)} reads texts and writes none: it answers "
                "/v1/embeddings alone."
                if self.encoders
                else f"{', '.join(self.players)} plays a game and writes no text: its page is at /."
            )
            raise ApiError(
                404,
                what,
                param="model",
                code="model_not_found",
            )
        return next(iter(self.models.values()))

    def find_embedder(self, name: str | None) -> Served | ServedEncoder:
        """An encoder where there is one, unless another is named. Raises ApiError."""
        if name is None and self.encoders:
            return next(iter(self.encoders.values()))
        if name is not None and name in self.encoders:
            return self.encoders[name]
        return self.find(name)

    def find_player(self, name: str) -> ServedPlayer:
        """Raises ApiError."""
        if name not in self.players:
            known = ", ".join(self.players) or "none: name a run of `fledge selfplay` at the start"
            raise ApiError(
                404, f"there is no player {name[:100]!r} here: there is {known}.", param="player"
            )
        return self.players[name]

    def find(self, name: str | None) -> Served:
        """Raises ApiError for a name that is none of theirs, and for an encoder's."""
        if name is None or not self.models:
            return self.default
        if name not in self.models:
            known = ", ".join(self.models)
            raise ApiError(
                404,
                f"there is no model {name[:100]!r} here: give one of {known}.",
                param="model",
                code="model_not_found",
            )
        return self.models[name]


def serve_model(
    name: str,
    loaded: Loaded,
    *,
    slots: int,
    queue_rows: int,
    positions: int | None = None,
    precision: Generation = "fp32",
    prefix_cache_rows: int = 4,
    threads: int | None = None,
    packed: PackedWeights | None = None,
) -> Served:
    """The model with its engine. Raises UserError where not even one slot fits.

    packed: weights that other models have too.
    """
    words = spell_tokens(loaded)

    def make_engine() -> Engine:
        return Engine(
            loaded.policy(),
            slots=slots,
            positions=positions,
            precision=precision,
            vocabulary=words,
            prefix_cache_rows=prefix_cache_rows,
            packed=packed,
        )

    return Served(
        name, loaded, EngineLoop(make_engine, queue_rows=queue_rows, threads=threads), words
    )
