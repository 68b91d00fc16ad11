"""Steps of sequences of different lengths, time by time: the first of every sequence, then the
second of all that have one, and so on. A recursion over time is then one matrix product a step for
all sequences together, without padding.

A few long sequences are cut into pieces that are worked on side by side: what a piece makes of its
beginning is a [K, K] matrix, and these are multiplied along the sequence first (cut_pieces.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP_S = 1.2e-5  # what a step of the recursion costs whatever its size
PRODUCT_S = 1e-9  # what one multiplication of a [n, K] @ [K, K] costs, small as they are


@dataclass(frozen=True)
class StepOrder:
    """Rows in the order time by time, of pieces sorted by their lengths, the longest first.

    order: row → step as given [N]. offsets: of every time the number of its first row, and N at the
    end [T + 1]. piece_rows: of a piece, its first and its last row, [P, 2]. chains: of every
    sequence its pieces in order. follows: the rows that have a step before them in their sequence
    [N − S]; before: the rows of those steps [N − S].
    """

    order: np.ndarray
    offsets: np.ndarray
    piece_rows: np.ndarray
    chains: list[np.ndarray]
    follows: np.ndarray
    before: np.ndarray

    @property
    def cut(self) -> bool:
        """Whether a sequence is in several pieces."""
        return len(self.piece_rows) > len(self.chains)

    @property
    def even(self) -> bool:
        """Whether every row has that of the step before it as many rows earlier."""
        return not self.cut and len(self.order) == len(self.chains) * (len(self.offsets) - 1)

    @property
    def first(self) -> np.ndarray:
        """The row of each sequence's first step.  [S]"""
        return self.piece_rows[[chain[0] for chain in self.chains], 0]

    @property
    def last(self) -> np.ndarray:
        """The row of each sequence's last step.  [S]"""
        return self.piece_rows[[chain[-1] for chain in self.chains], 1]

    def restore(self, rows: np.ndarray) -> np.ndarray:
        """From this order to the one given.  [N, …] -> [N, …]"""
        given = np.empty_like(rows)
        given[self.order] = rows
        return given


def order_steps(lengths: Sequence[int], longest: int | None = None) -> StepOrder:
    """longest: a piece; None: sequences are not cut."""
    numbers = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate(([0], numbers.cumsum()[:-1]))
    begins, sizes, chains = [], [], []
    for start, length in zip(starts.tolist(), numbers.tolist(), strict=True):
        size = length if longest is None else min(length, longest)
        pieces = range(0, length, size)
        chains.append(np.arange(len(begins), len(begins) + len(pieces)))
        begins += [start + place for place in pieces]
        sizes += [min(size, length - place) for place in pieces]
    begin, size = np.array(begins), np.array(sizes)
    by_length = np.argsort(-size, kind="stable")
    begin, size = begin[by_length], size[by_length]
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    chains = [place[chain] for chain in chains]
    # of every time how many pieces are as long, and so where its rows begin
    counts = np.searchsorted(-size, -np.arange(size[0]), side="left")
    offsets = np.concatenate(([0], counts.cumsum()))
    time = np.repeat(np.arange(size[0]), counts)
    piece = np.arange(offsets[-1]) - offsets[time]
    order = begin[piece] + time
    piece_rows = np.stack([np.arange(len(size)), offsets[size - 1] + np.arange(len(size))], 1)
    row_of = np.empty_like(order)
    row_of[order] = np.arange(len(order))
    is_first = np.zeros(len(order), dtype=bool)
    is_first[starts] = True
    follows = np.flatnonzero(~is_first[order])
    return StepOrder(order, offsets, piece_rows, chains, follows, row_of[order[follows] - 1])


def choose_order(lengths: Sequence[int], K: int) -> StepOrder:
    """Cut where K + 2 times the products, in far fewer steps, cost less than half as much."""
    T, N = max(lengths), sum(lengths)
    whole = 2 * T * STEP_S + 2 * N * K * K * PRODUCT_S
    longest = max(16, math.isqrt(2 * T // 3))
    cut = (3 * longest + 2 * T / longest) * STEP_S + N * (K + 2) * K * K * PRODUCT_S
    return order_steps(lengths, longest if cut < whole / 2 and longest < T else None)


def sequence_of(steps: StepOrder) -> np.ndarray:
    """The number of the sequence that each row is of.  -> [N]"""
    piece = np.empty(len(steps.piece_rows), dtype=np.int64)
    for number, chain in enumerate(steps.chains):
        piece[chain] = number
    return piece[_piece_of(steps)]


def time_of(steps: StepOrder) -> np.ndarray:
    """The number of each row's step within its sequence, from 0.  -> [N]"""
    begin = np.empty(len(steps.chains), dtype=np.int64)
    number = sequence_of(steps)
    begin[number[steps.first]] = steps.order[steps.first]
    return steps.order - begin[number]


def rows_of(steps: StepOrder, sequence: int) -> np.ndarray:
    """The rows of one sequence, in the order of its steps.  -> [T]"""
    rows = np.flatnonzero(sequence_of(steps) == sequence)
    return rows[np.argsort(steps.order[rows])]


def _piece_of(steps: StepOrder) -> np.ndarray:
    counts = np.diff(steps.offsets)
    return np.arange(len(steps.order)) - np.repeat(steps.offsets[:-1], counts)
