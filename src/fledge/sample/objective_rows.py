"""Rows of running text for pre-training by an objective: inputs and targets for an encoder–decoder,
texts with their middle at the end for a decoder.

What is noise in row i is a function of the seed and i alone, so that a run which is resumed goes on
with the rows that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fledge.errors import UserError
from fledge.micro_batches import gather_rows
from fledge.sample.conversations import token_rows
from fledge.sample.documents import Tokens, Windows
from fledge.seeds import seed_for
from fledge.text.infilling import Infilling, draw_middle
from fledge.text.objectives import (
    MEAN_SPAN,
    NOISE,
    PairedObjective,
    find_marks,
    fit_length,
    make_pair,
    needs_marks,
)
from fledge.text.packed import TokenRow
from fledge.text.paired import PairedTokenizer
from fledge.trajectories import Trajectories

FRAME = 6  # tokens at the most that stand around input and target


class PairWriter:
    """Windows of a text as inputs and targets. Of a window that documents share it is the longest
    piece of one: no noise reaches across a border.
    """

    def __init__(
        self,
        tokenizer: PairedTokenizer,
        objective: PairedObjective,
        row_tokens: int,
        density: float = NOISE,
        mean_span: float = MEAN_SPAN,
    ) -> None:
        """row_tokens: of input and target together, with what stands around them. Raises UserError
        for a tokenizer without what the objective needs, and for rows too short.
        """
        self.tokenizer = tokenizer
        self.objective: PairedObjective = objective
        self.density, self.mean_span = density, mean_span
        ordinary = np.array(sorted(set(range(tokenizer.vocab_size)) - tokenizer.special))
        special = tokenizer.special_tokens
        self.marks = find_marks(special, ordinary) if needs_marks(objective) else None
        self.window = fit_length(objective, row_tokens - FRAME, density, mean_span)
        self.borders = np.array(sorted(tokenizer.special))

    def __call__(self, window: np.ndarray, random: np.random.Generator) -> TokenRow:
        text = find_longest_piece(window, self.borders)
        if len(text) < 2:  # of nothing but borders: a row that trains nothing
            ids = self.tokenizer.open_input([])
            return ids, [False] * len(ids)
        pair = make_pair(self.objective, text, self.marks, random, self.density, self.mean_span)
        return self.tokenizer.write_pair(pair.given.tolist(), pair.target.tolist())


def find_longest_piece(window: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """The longest stretch without any of these tokens, the first of several."""
    places = np.flatnonzero(np.isin(window, borders))
    begins = np.concatenate([[0], places + 1])
    ends = np.concatenate([places, [len(window)]])
    best = int(np.argmax(ends - begins))
    return window[begins[best] : ends[best]]


class InfillingWriter:
    """Windows of a text for a decoder, the documents in them with their middle moved to their end
    (Bavarian et al. 2022). The three marks, and what opens a document, are never targets: whoever
    asks writes them.
    """

    def __init__(
        self, marks: Infilling, begin: int | None, end: int | None, row_tokens: int,
        rate: float, spm_share: float,
    ) -> None:  # fmt: skip
        """begin, end: the tokens that open and close a document. rate: the share of documents that
        are moved. spm_share: of these, the share whose suffix comes first.
        """
        self.marks, self.begin, self.end, self.window = marks, begin, end, row_tokens
        self.rate, self.spm_share = rate, spm_share

    def __call__(self, window: np.ndarray, random: np.random.Generator) -> TokenRow:
        frame = [mark for mark in (self.begin, self.end) if mark is not None]
        borders = np.flatnonzero(np.isin(window, frame))
        row: list[int] = []
        for begin, end in zip([-1, *borders], [*borders, len(window)], strict=True):
            text = window[begin + 1 : end]
            if len(text):  # between what closes a document and what opens the next there is none
                text = draw_middle(text, self.marks, random, self.rate, self.spm_share)
            row += text.tolist()
            row += window[end : end + 1].tolist()
        row = row[: self.window + 1]
        never = {*self.marks, self.begin}
        return row, [token not in never for token in row]


class ObjectiveRows:
    """Endless batches of rows_per_step rows. The whole position is one integer: rows given so
    far.
    """

    def __init__(
        self, stream: Tokens, write: PairWriter | InfillingWriter, *, rows_per_step: int, seed: int
    ) -> None:
        self.write, self.rows, self.seed = write, rows_per_step, seed
        self.text = Windows(stream, context=write.window, seed=seed, index="documents")
        self.key = seed_for(seed, "data", "objective")
        self.position = 0
        self.figures: dict[str, float] = {}

    def __iter__(self) -> ObjectiveRows:
        return self

    def __next__(self) -> Trajectories:
        rows = [
            self.write(self.text.read(number), draw_for(self.key, number))
            for number in range(self.position, self.position + self.rows)
        ]
        self.position += self.rows
        self.figures = {"epoch": self.position / self.text.windows}
        return token_rows(rows)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def draw_for(key: int, number: int) -> np.random.Generator:
    """The random numbers of row `number`."""
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 1, number]))


def read_held_out(stream: Tokens, write: PairWriter, rows: int) -> Iterator[Trajectories]:
    """`rows` windows of held-out text, evenly apart, each with the same noise at every reading.
    Raises UserError for a text without a target.
    """
    size = min(write.window, len(stream))
    whole = max(1, len(stream) // write.window)
    number = min(rows, whole)
    written = [
        write(stream[start : start + size], draw_for(0, i))
        for i, start in enumerate(i * whole // number * write.window for i in range(number))
    ]
    if not any(any(own) for _, own in written):
        raise UserError("the held-out text has no target to foretell: give more text.")
    yield from map(token_rows, gather_rows(written, lambda row: len(row[0])))
