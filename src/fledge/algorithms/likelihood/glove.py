"""GloVe (Pennington et al. 2014): vectors whose products are the logarithms of how often words
stand near each other, by weighted least squares.

sample: cells of the co-occurrence matrix.  score: –.  weigh: f(X).  fit: a squared error, by
AdaGrad, a cell a step; in C (`glove_updates.py` has the equations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fledge.algorithms.likelihood.context_prediction import LANES, copy_into
from fledge.algorithms.likelihood.glove_updates import Cells, GloveWeights, fit_cells_plain
from fledge.algorithms.likelihood.word_kernel import fit_cells_native, load_kernel
from fledge.algorithms.likelihood.word_updates import make_keys
from fledge.models.language.word_vectors import WordVectors
from fledge.sample.word_chunks import CellOrder
from fledge.seeds import generator_for, seed_for
from fledge.splits import Split
from fledge.stopwatch import Stopwatch
from fledge.text.words import Vocabulary

HELD_OUT = 50  # one pair of words in so many steers, and one is tested on


@dataclass(frozen=True)
class GloveSettings:
    """x_max: the co-occurrences from which on a cell counts fully."""

    dims: int = 100
    x_max: float = 100.0
    learning_rate: float = 0.05
    threads: int = 1


class Glove:
    """cells: of training."""

    figure = "squared_error"
    unfinished = None

    def __init__(
        self, vocabulary: Vocabulary, cells: Cells, settings: GloveSettings, seed: int,
        stopwatch: Stopwatch,
    ) -> None:  # fmt: skip
        self.vocabulary, self.cells, self.settings = vocabulary, cells, settings
        self.stopwatch = stopwatch
        V, D = len(vocabulary), settings.dims
        P = -(-D // LANES) * LANES
        generator, bound = generator_for(seed, "weights"), 0.5 / D
        self.tensors: dict[str, Tensor] = {
            "words": torch.zeros(V, P), "contexts": torch.zeros(V, P),
            "word_squares": torch.ones(V, P), "context_squares": torch.ones(V, P),
            "word_bias": torch.zeros(V), "context_bias": torch.zeros(V),
            "word_bias_squares": torch.ones(V), "context_bias_squares": torch.ones(V),
        }  # fmt: skip
        for name in ("words", "contexts"):
            self.tensors[name][:, :D].uniform_(-bound, bound, generator=generator)
        self.weights = GloveWeights(**{name: x.numpy() for name, x in self.tensors.items()})

    def update(
        self, batch: CellOrder, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """squared_error: of a cell, weighted, halved."""
        rate, library = self.settings.learning_rate, load_kernel()
        with self.stopwatch.phase("fit"):
            if library is None:
                loss = fit_cells_plain(self.weights, self.cells, batch.cells, rate)
            else:
                loss = fit_cells_native(
                    library, self.weights, self.cells, batch.cells, rate, self.settings.threads
                )
        return {"squared_error": loss / len(batch.cells), "cells": float(len(batch.cells))}

    def measure(self, cells: Cells) -> float:
        return self.weights.measure(cells)

    def vectors(self) -> WordVectors:
        """The sum of both vectors of a word (§4.2)."""
        D = self.settings.dims
        both = self.tensors["words"][:, :D] + self.tensors["contexts"][:, :D]
        return WordVectors(
            self.vocabulary.words, both, torch.from_numpy(self.vocabulary.counts)
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return dict(self.tensors)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, held in self.tensors.items():
            copy_into(held, state[name])


def split_cells(
    rows: NDArray[np.int32], columns: NDArray[np.int32], x: NDArray[np.float64], x_max: float,
    seed: int,
) -> dict[Split, Cells]:  # fmt: skip
    """Pairs of words, each once, into both cells of the symmetric matrix; a pair is in one part
    with both of its cells.
    """
    pair = rows.astype(np.int64) << 32 | columns
    place = make_keys(seed_for(seed, "evaluation"), pair) % np.uint64(HELD_OUT)
    parts: dict[Split, Cells] = {}
    splits: list[tuple[Split, NDArray[np.bool_]]] = [
        ("train", place > 1), ("validation", place == 0), ("test", place == 1),
    ]  # fmt: skip
    for split, chosen in splits:
        a, b, value = rows[chosen], columns[chosen], x[chosen]
        other = a != b
        parts[split] = Cells.of(
            np.concatenate([a, b[other]]), np.concatenate([b, a[other]]),
            np.concatenate([value, value[other]]), x_max,
        )  # fmt: skip
    return parts
