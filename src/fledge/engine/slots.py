"""What the engine knows of each slot, a row of the running batch, as arrays: one operation serves
all live rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fledge.engine.logits import Choice
from fledge.engine.row import Row


class Slots:
    """The first slots are the live ones. `held` says in the host's memory what `length` says on the
    device.
    """

    def __init__(self, slots: int, positions: int, device: torch.device) -> None:
        def array(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(slots, *shape, dtype=dtype, device=device)

        self.length = array()  # tokens of the slot that the KV cache holds
        self.count = array()  # tokens said
        self.room = array()  # the most it may say
        self.current = array()  # said last, not read yet
        self.stop = array(1).fill_(-1)  # tokens that end the row, −1 where it has fewer
        self.tokens = array(positions)
        self.logp, self.raw_logp = (array(positions, dtype=torch.float64) for _ in range(2))
        self.numbers = array(positions, dtype=torch.float64)  # uniform, one a token
        self.held = [0] * slots

    def __len__(self) -> int:
        return len(self.held)

    def _list_arrays(self) -> tuple[Tensor, ...]:
        return (
            self.length, self.count, self.room, self.current, self.stop,
            self.tokens, self.logp, self.raw_logp, self.numbers,
        )  # fmt: skip

    def open(self, first: int, rows: Sequence[Row]) -> None:
        """Rows that have said nothing, whose prompts are about to be prefilled, into the slots
        from `first` on.
        """
        device = self.stop.device
        widest = max((len(row.request.stop) for row in rows), default=0)
        if widest > self.stop.shape[1]:
            self.stop = torch.cat(
                [self.stop, self.stop.new_full((len(self.stop), widest - self.stop.shape[1]), -1)],
                1,
            )
        room = [row.room for row in rows]
        numbers = np.zeros((len(rows), max(room)))
        for row, n, into in zip(rows, room, numbers, strict=True):
            into[:n] = row.request.draw_uniform(n)
        some = slice(first, first + len(rows))
        self.held[some] = [len(row.prompt) for row in rows]
        self.length[some] = torch.tensor(self.held[some], device=device)
        self.count[some] = 0
        self.room[some] = torch.tensor(room, device=device)
        padded = [
            sorted(row.request.stop) + [-1] * (self.stop.shape[1] - len(row.request.stop))
            for row in rows
        ]
        self.stop[some] = torch.tensor(padded, dtype=torch.long, device=device)
        self.numbers[some, : numbers.shape[1]] = torch.from_numpy(numbers).to(device)

    def take_uniform(self, first: int, rows: int) -> Tensor:
        """The number that the next token of each slot is drawn with.  [B]"""
        some = slice(first, first + rows)
        return self.numbers[some].gather(1, self.count[some, None]).squeeze(1)

    def write(self, first: int, choice: Choice) -> list[int]:
        """The next token of the slots from `first` on; the slots whose row that ends."""
        some = slice(first, first + len(choice.token))
        place = self.count[some, None]
        self.tokens[some].scatter_(1, place, choice.token[:, None])
        self.logp[some].scatter_(1, place, choice.logp[:, None].double())
        self.raw_logp[some].scatter_(1, place, choice.raw_logp[:, None].double())
        self.count[some] += 1
        self.current[some] = choice.token
        over = (choice.token[:, None] == self.stop[some]).any(1) | (
            self.count[some] >= self.room[some]
        )
        return (over.nonzero().squeeze(1) + first).tolist()

    def grow(self, rows: int) -> None:
        """The current token of the first slots has been decoded from: the KV cache holds it."""
        self.length[:rows] += 1
        for slot in range(rows):
            self.held[slot] += 1

    def read_said(self, slots: Sequence[int]) -> list[tuple[list[int], list[float], list[float]]]:
        """Of each slot: tokens, their logp and their raw logp."""
        some = list(slots)
        counts = self.count[some].tolist()
        longest = max(counts, default=0)
        columns = [
            array[some, :longest].tolist() for array in (self.tokens, self.logp, self.raw_logp)
        ]
        return [
            (tokens[:n], logp[:n], raw_logp[:n])
            for n, tokens, logp, raw_logp in zip(counts, *columns, strict=True)
        ]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        for array in self._list_arrays():
            array[list(targets)] = array[list(sources)]
        for source, target in zip(sources, targets, strict=True):
            self.held[target] = self.held[source]

    def reorder(self, order: Sequence[int]) -> None:
        for array in self._list_arrays():
            array[: len(order)] = array[list(order)]
        self.held[: len(order)] = [self.held[slot] for slot in order]
