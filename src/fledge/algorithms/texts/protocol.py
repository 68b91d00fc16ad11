"""What `fledge imagine` asks of what learns sentences, and the settings that all of it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.settings import AlgorithmSettings
from fledge.learner import Learner
from fledge.loop import Algorithm
from fledge.models.language.recurrent_config import Cell
from fledge.models.language.sentence_model import SentenceModel
from fledge.stopwatch import Stopwatch
from fledge.text.sentences import SentenceRows
from fledge.text.tokenizer import Tokenizer

MakeLearner = Callable[[nn.Module], Learner]


class CoderSettings(AlgorithmSettings):
    """Of what reads sentences and says them again."""

    latents: int = Field(default=16, ge=1, description="numbers of a sentence's vector")
    width: int = Field(default=128, ge=1, description="of the recurrent layers")
    layers: int = Field(default=1, ge=1, description="recurrent layers on either side")
    cell: Cell = Field(default="gru", description="elman, lstm, gru or mingru")
    tokenizer: str = Field(
        default="bpe",
        description="bytes, characters, bpe (whole words where the vocabulary has room for them), "
        "or a folder with a trained tokenizer",
    )
    vocab_size: int = Field(
        default=1024, ge=1, description="of a bpe tokenizer trained here, at the most"
    )
    longest: int = Field(default=64, ge=1, description="tokens that a sentence may have")
    word_dropout: float = Field(
        default=0.3, ge=0, lt=1, description="share of the tokens that are hidden from the writer"
    )
    draws: int = Field(
        default=16, ge=1, description="draws for each sentence that is judged; more are tighter"
    )


@dataclass(frozen=True)
class TextNoise(SentenceRows):
    """dropped: [B, T] bool, tokens that are hidden; of the whole step, before it is cut."""

    dropped: Tensor

    @classmethod
    def by_step(cls) -> frozenset[str]:
        return frozenset({"tokens", "dropped"})


def draw_dropped(rows: SentenceRows, share: float, generator: torch.Generator) -> Tensor:
    """Which tokens are hidden; what opens a sentence never is.  -> [B, T] bool"""
    dropped = torch.rand(rows.tokens.shape, generator=generator) < share
    dropped[:, 0] = False
    return dropped


class TextAlgorithm(Algorithm, Protocol):
    """usual: of the verb's fields, what suits it."""

    reads: ClassVar[Literal["texts"]]
    usual: ClassVar[Mapping[str, Any]]

    def __init__(
        self,
        settings: Any,
        model: Any,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None: ...

    @classmethod
    def build(cls, settings: Any, tokenizer: Tokenizer) -> SentenceModel:
        """Fresh, of the process's own generator, which the seed has been given."""
        ...

    @staticmethod
    def share(model: Any, rows: SentenceRows) -> Tensor:
        """A loss that costs what a step's does, for measuring which precision is faster."""
        ...

    def list_models(self) -> Mapping[str, SentenceModel]:
        """What is judged, by the prefix of its figures; the run's own, "", first."""
        ...
