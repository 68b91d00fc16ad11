"""Rows of whole documents: each goes into the row that it fills best, so that none is cut but those
that are longer than a row (Ding et al. 2024, "Fewer Truncations Improve Language Modeling").

What is longer is cut into full rows and a rest, which opens its row's place with <|begin|> as a
document does: attention goes over no border. Rows that are not full end in <|begin|>s, which are no
targets. Best-fit decreasing: the longest piece first, into the open row with the least room that it
fits in. Held of a piece are 25 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.sample.documents import Tokens
from fledge.seeds import seed_for

STAGES = 10
BEGINNING = 0.1  # of the rows, from which the first of a curriculum are drawn

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """padding: tokens that are none, of all in the rows. cut: documents that are longer than a row.
    cut_end_to_end: those that rows of tokens end to end would cut. documents: all of them.
    """

    rows: int
    padding: float
    documents: int
    cut: int
    cut_end_to_end: int

    def describe(self) -> str:
        share = lambda number: f"{number / max(self.documents, 1):.1%}"  # noqa: E731
        return (
            f"packed by best fit: {self.rows:,} rows, {self.padding:.2%} padding; "
            f"{share(self.cut)} of the {self.documents:,} documents are cut, end to end it would "
            f"be {share(self.cut_end_to_end)}"
        )


class PackedDocuments:
    """The rows of one text, numbered without end, as `Windows` has them: a row is a function of
    (seed, number) alone. Each pass visits all rows in an order of its own; a curriculum draws row
    `number` of a run from the easiest share of the rows, which grows as the square root of how far
    the run is (Platanios et al. 2019, eq. 7), and of which some are drawn more than once.
    """

    def __init__(
        self,
        stream: Tokens,
        starts: Ints,
        begin: int,
        *,
        context: int,
        seed: int,
        index: str,
        difficulty: NDArray[np.float64] | None = None,
        rows_of_run: int = 0,
    ) -> None:
        """starts: of the documents in the stream.  [D]. difficulty: of each document, for a
        curriculum over `rows_of_run` rows.  [D]. Raises UserError for a text without documents.
        """
        if not len(starts):
            raise UserError("the text has no document: give more text.")
        self.stream, self.begin, self.context = stream, begin, context
        self.key = seed_for(seed, "data", index)
        self.rows_of_run = rows_of_run if difficulty is not None else 0
        lengths = np.diff(np.append(starts, len(stream)))
        document, self._start, self._length = cut_long(starts, lengths, context + 1)
        stage = np.zeros(len(lengths), dtype=np.int64)
        if difficulty is not None:
            stage = divide_stages(difficulty, lengths)
        own = stage[document]
        # A piece that begins inside a document has a <|begin|> of its own in front.
        self._opened = self._start != starts[document]
        sizes = self._length + self._opened
        row, rows = np.zeros(len(sizes), dtype=np.int64), 0
        for number in range(int(own.max()) + 1):
            places = np.flatnonzero(own == number)
            packed = pack_best_fit(sizes[places], context + 1)
            row[places] = rows + packed
            rows += int(packed.max()) + 1 if len(packed) else 0
        self.windows = rows
        self._pieces = np.argsort(row, kind="stable")
        self._first = np.searchsorted(row[self._pieces], np.arange(rows + 1))
        self._pass: tuple[int, Ints] | None = None
        ends = starts + lengths - 1
        self.packing = Packing(
            rows, 1 - float(sizes.sum()) / (rows * (context + 1)), len(lengths),
            int(np.sum(lengths > context + 1)), int(np.sum(starts // context != ends // context)),
        )  # fmt: skip

    def read(self, number: int) -> np.ndarray:
        """Row `number`.  -> [context + 1]"""
        row = np.full(self.context + 1, self.begin, dtype=np.int64)
        place, chosen = 0, self._choose(number)
        for piece in self._pieces[self._first[chosen] : self._first[chosen + 1]]:
            place += int(self._opened[piece])
            start, length = int(self._start[piece]), int(self._length[piece])
            row[place : place + length] = self.stream[start : start + length]
            place += length
        return row

    def _choose(self, number: int) -> int:
        if self.rows_of_run:
            share = find_share(number / self.rows_of_run)
            random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 1, number]))
            return int(random.random() * max(1, share * self.windows))
        passed, place = divmod(number, self.windows)
        if self._pass is None or self._pass[0] != passed:
            random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, passed]))
            self._pass = (passed, random.permutation(self.windows))
        return int(self._pass[1][place])


def find_share(done: float) -> float:
    """Of the rows, the easiest first, that a curriculum draws from: all of them from the run's end
    on.
    """
    return min(1.0, float(np.sqrt(done * (1 - BEGINNING**2) + BEGINNING**2)))


def cut_long(starts: Ints, lengths: Ints, capacity: int) -> tuple[Ints, Ints, Ints]:
    """The pieces of all documents: of which one each is, where it starts, and its tokens. All
    pieces but the first of a document leave room for a <|begin|>.  [D], [D] -> [P], [P], [P]
    """
    later = np.maximum(lengths - capacity, 0)
    number = 1 + -(-later // (capacity - 1))  # of pieces
    document = np.repeat(np.arange(len(starts)), number)
    which = np.arange(len(document)) - np.repeat(np.cumsum(number) - number, number)
    offset = np.where(which > 0, capacity + (which - 1) * (capacity - 1), 0)
    most = np.where(which > 0, capacity - 1, capacity)
    return document, starts[document] + offset, np.minimum(lengths[document] - offset, most)


def pack_best_fit(sizes: Sequence[int] | Ints, capacity: int) -> Ints:
    """The row of each piece, by best-fit decreasing.  [P] -> [P]

    Rows with equal room are alike: of those that have enough, the set bits of one number, the
    lowest is the least room.
    """
    row = np.zeros(len(sizes), dtype=np.int64)
    open_rows: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms, rows = 0, 0
    for piece in np.argsort(-np.asarray(sizes), kind="stable").tolist():
        size = int(sizes[piece])
        enough = rooms >> size
        if enough:
            room = size + (enough & -enough).bit_length() - 1
            number = open_rows[room].pop()
            if not open_rows[room]:
                rooms ^= 1 << room
        else:
            room, number, rows = capacity, rows, rows + 1
        row[piece] = number
        left = room - size
        if left:
            open_rows[left].append(number)
            rooms |= 1 << left
    return row


def divide_stages(difficulty: NDArray[np.float64], lengths: Ints) -> Ints:
    """Which of `STAGES` each document is of, the easiest in the first; each has about as many
    tokens.  [D], [D] -> [D]
    """
    order = np.argsort(difficulty, kind="stable")
    before = np.cumsum(lengths[order]) - lengths[order] / 2
    stage = np.zeros(len(order), dtype=np.int64)
    stage[order] = np.minimum(before * STAGES // lengths.sum(), STAGES - 1)
    return stage
