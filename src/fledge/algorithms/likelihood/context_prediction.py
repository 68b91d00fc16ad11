"""Skip-gram and CBOW (Mikolov et al. 2013): vectors by which a word is told from noise, or found in
a tree, given the words around it.

sample: chunks of the text.  score: –.  weigh: 1.  fit: −log p of the word, by steps of plain
gradient descent at a rate that falls in a line. A step touches a dozen rows and there are as many
as words, so they are taken in C, not by the learner (`word_updates.py` has the equations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.likelihood.huffman import build_codes
from fledge.algorithms.likelihood.word_kernel import fit_native, load_kernel
from fledge.algorithms.likelihood.word_updates import (
    Noise,
    Piece,
    Setup,
    Sums,
    choose_kept,
    divide_noise,
    fit_plain,
)
from fledge.models.language.subwords import Subwords
from fledge.models.language.word_vectors import WordVectors
from fledge.sample.word_chunks import Chunks
from fledge.seeds import generator_for, seed_for
from fledge.stopwatch import Stopwatch
from fledge.text.words import Vocabulary, WordText

LANES = 16  # numbers that C handles at once: rows are filled up with 0 to a multiple
LOSS_EVERY = 16  # the loss is counted for one word in so many
LOWEST_RATE = 1e-4  # of the first one, at the end


@dataclass(frozen=True)
class ContextSettings:
    """objective: of what the loss is made. window: words to either side at the most; how many is
    drawn for each word. sample: see `choose_kept`.
    """

    cbow: bool = False
    objective: Literal["negative", "hierarchical"] = "negative"
    dims: int = 100
    window: int = 5
    negatives: int = 5
    sample: float = 1e-3
    learning_rate: float = 0.025
    threads: int = 1
    subwords: Subwords | None = None


class ContextPrediction:
    """words: of the whole training, every pass counted: where the rate is to be lowest."""

    figure = "loss"
    unfinished = None  # a batch is over in less than a second

    def __init__(
        self, vocabulary: Vocabulary, settings: ContextSettings, words: int, seed: int,
        stopwatch: Stopwatch,
    ) -> None:  # fmt: skip
        self.vocabulary, self.settings, self.words = vocabulary, settings, words
        self.seed, self.stopwatch = seed, stopwatch
        V, P = len(vocabulary), -(-settings.dims // LANES) * LANES
        subwords = settings.subwords
        self.input = torch.zeros(V + (subwords.buckets if subwords else 0), P)
        bound = 0.5 / settings.dims  # as word2vec begins
        own = self.input[:, : settings.dims]
        own.uniform_(-bound, bound, generator=generator_for(seed, "weights"))
        tree = settings.objective == "hierarchical"
        self.output = torch.zeros(V - 1 if tree else V, P)
        counts = vocabulary.counts
        self.setup = Setup(
            self.input.numpy(), self.output.numpy(), choose_kept(counts, settings.sample),
            build_codes(counts.tolist()) if tree else Noise.of(counts),
            settings.window, settings.negatives, settings.cbow, seed_for(seed, "noise"),
            subwords.list_rows(vocabulary.words) if subwords else None,
            divide_noise(counts, settings.threads) if settings.threads > 1 and not tree else (),
        )  # fmt: skip

    def update(
        self, batch: Chunks, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """loss: of an input, in nats: of a context word, or of the mean of them. tokens: words."""
        text, begins = batch.text, batch.text.begins[batch.first : batch.end]
        before = batch.turn * len(text)
        gone = (before + begins) / self.words
        rates = self.settings.learning_rate * np.maximum(LOWEST_RATE, 1 - gone)
        piece = Piece(
            text, batch.first, batch.end, rates.astype(np.float32), before, LOSS_EVERY
        )  # fmt: skip
        with self.stopwatch.phase("fit"):
            sums = self._fit(self.setup, piece, self.settings.threads)
        figures = {"tokens": float(sums.words), "learning_rate": float(rates[-1])}
        return {"loss": sums.mean, **figures} if sums.examples else figures

    def _fit(self, setup: Setup, piece: Piece, threads: int) -> Sums:
        library = load_kernel()
        if library is None:
            return fit_plain(setup, piece)
        return fit_native(library, setup, piece, threads)

    def measure(self, text: WordText) -> float:
        """The loss of an input on a text, every word of it kept, the noise and the windows the same
        at each call. Nothing is learned: the rate is 0.
        """
        kept = choose_kept(self.vocabulary.counts, 0)
        seed = seed_for(self.seed, "judge")
        setup = replace(self.setup, keep=kept, seed=seed, shares=())
        piece = Piece(text, 0, text.chunks, np.zeros(text.chunks, np.float32))
        return self._fit(setup, piece, 1).mean

    def vectors(self) -> WordVectors:
        """The inputs, as they are; of a word with n-grams what it is as an input."""
        V, D, subwords = len(self.vocabulary), self.settings.dims, self.settings.subwords
        counts = torch.from_numpy(self.vocabulary.counts)
        own = self.input[:, :D]
        if subwords is None or self.setup.rows is None:
            return WordVectors(self.vocabulary.words, own.clone(), counts)
        begins, rows = (torch.from_numpy(x).long() for x in self.setup.rows)
        summed = torch.nn.functional.embedding_bag(rows, own, begins[:-1], mode="sum")
        scale = begins.diff().sqrt()[:, None]
        return WordVectors(
            self.vocabulary.words, summed / scale, counts, subwords, own[V:].clone()
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"input": self.input, "output": self.output}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, held in (("input", self.input), ("output", self.output)):
            copy_into(held, state[name])


def copy_into(held: Tensor, saved: Tensor) -> None:
    """Into its place: NumPy and C look at it. Raises RuntimeError for another size."""
    if held.shape != saved.shape:
        raise RuntimeError(f"{tuple(saved.shape)} was saved of {tuple(held.shape)}")
    held.copy_(saved)
