"""A text of words for training vectors: its chunks in order, pass after pass, and the cells of a
co-occurrence matrix in an order drawn anew for each pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fledge.seeds import generator_for
from fledge.text.words import WordText

STEP_WORDS = 2**18  # of a step: some tenths of a second
STEP_CELLS = 2**19


@dataclass(frozen=True)
class Chunks:
    """Chunks `first` to `end` of a text, in the pass `turn` over it."""

    text: WordText
    first: int
    end: int
    turn: int

    def count_actions(self) -> int:
        begins = self.text.begins
        return int(begins[self.end] - begins[self.first])


class WordChunks:
    """About `STEP_WORDS` words a batch."""

    def __init__(self, text: WordText) -> None:
        self.text, self.place = text, 0
        self.figures: dict[str, float] = {}
        number = (text.begins[1:] - 1) // STEP_WORDS  # of the step that a chunk's end lies in
        self.cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), text.chunks]

    def __len__(self) -> int:
        """Words of a pass."""
        return len(self.text)

    def __iter__(self) -> WordChunks:
        return self

    def __next__(self) -> Chunks:
        turn, step = divmod(self.place, len(self.cuts) - 1)
        self.place += 1
        return Chunks(self.text, self.cuts[step], self.cuts[step + 1], turn)

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]


@dataclass(frozen=True)
class CellOrder:
    """Numbers of cells, in the order in which they come.  [N]"""

    cells: NDArray[np.int64]

    def count_actions(self) -> int:
        return len(self.cells)


class CellBlocks:
    """`STEP_CELLS` cells a batch; each pass sees every cell once."""

    def __init__(self, cells: int, seed: int) -> None:
        self.cells, self.seed, self.place = cells, seed, 0
        self.figures: dict[str, float] = {}
        self._turn, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        """Cells of a pass."""
        return self.cells

    def __iter__(self) -> CellBlocks:
        return self

    def __next__(self) -> CellOrder:
        turn, step = divmod(self.place, -(-self.cells // STEP_CELLS))
        if turn != self._turn:
            generator = generator_for(self.seed, "data", turn)
            self._turn = turn
            self._order = torch.randperm(self.cells, generator=generator).numpy()
        self.place += 1
        return CellOrder(self._order[step * STEP_CELLS : (step + 1) * STEP_CELLS])

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]
