"""What the engine knows of each lane, as arrays: one operation serves all live rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fledge.engine.choosing import Choice
from fledge.engine.row import Row


class Board:
    """The first lanes are the live ones. `held` says in the host's memory what `length` says on the device."""

    def __init__(self, lanes: int, positions: int, device: torch.device) -> None:
        def array(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(lanes, *shape, dtype=dtype, device=device)

        self.length = array()  # tokens of the lane that the cache holds
        self.count = array()  # tokens said
        self.room = array()  # the most it may say
        self.current = array()  # said last, not read yet
        self.stop = array(1).fill_(-1)  # tokens that end the row, −1 where it has fewer
        self.tokens = array(positions)
        self.logp, self.raw_logp = (array(positions, dtype=torch.float64) for _ in range(2))
        self.numbers = array(positions, dtype=torch.float64)  # uniform, one a token
        self.held = [0] * lanes

    def _arrays(self) -> tuple[Tensor, ...]:
        return (
            self.length, self.count, self.room, self.current, self.stop, self.tokens, self.logp, self.raw_logp, self.numbers
        )  # fmt: skip

    def open(self, lane: int, row: Row) -> None:
        """A row that has been read and has said nothing."""
        request, positions = row.request, self.tokens.shape[1]
        room = min(request.max_new_tokens, positions - len(row.prompt))
        if len(request.stop) > self.stop.shape[1]:
            more = self.stop.new_full((len(self.stop), len(request.stop) - self.stop.shape[1]), -1)
            self.stop = torch.cat([self.stop, more], 1)
        self.stop[lane] = -1
        self.stop[lane, : len(request.stop)] = torch.tensor(sorted(request.stop), dtype=torch.long)
        self.held[lane] = len(row.prompt)
        self.length[lane], self.count[lane], self.room[lane] = len(row.prompt), 0, room
        self.numbers[lane, :room] = torch.from_numpy(request.uniform()[:room])

    def uniform(self, first: int, rows: int) -> Tensor:
        """The number that the next token of each lane is drawn with.  [B]"""
        some = slice(first, first + rows)
        return self.numbers[some].gather(1, self.count[some, None]).squeeze(1)

    def write(self, first: int, choice: Choice) -> list[int]:
        """The next token of the lanes from `first` on; the lanes whose row that ends."""
        some = slice(first, first + len(choice.token))
        place = self.count[some, None]
        self.tokens[some].scatter_(1, place, choice.token[:, None])
        self.logp[some].scatter_(1, place, choice.logp[:, None].double())
        self.raw_logp[some].scatter_(1, place, choice.raw_logp[:, None].double())
        self.count[some] += 1
        self.current[some] = choice.token
        over = (choice.token[:, None] == self.stop[some]).any(1) | (self.count[some] >= self.room[some])
        return (over.nonzero().squeeze(1) + first).tolist()

    def grow(self, rows: int) -> None:
        """The current token of the first lanes has been read."""
        self.length[:rows] += 1
        for lane in range(rows):
            self.held[lane] += 1

    def said(self, lane: int, *, without_last: bool = False) -> tuple[list[int], list[float], list[float]]:
        """Tokens, their logp and their raw logp."""
        n = int(self.count[lane]) - without_last
        return self.tokens[lane, :n].tolist(), self.logp[lane, :n].tolist(), self.raw_logp[lane, :n].tolist()

    def move(self, source: int, target: int) -> None:
        for array in self._arrays():
            array[target] = array[source]
        self.held[target] = self.held[source]

    def reorder(self, order: Sequence[int]) -> None:
        for array in self._arrays():
            array[: len(order)] = array[list(order)]
        self.held[: len(order)] = [self.held[lane] for lane in order]
