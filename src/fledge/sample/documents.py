"""Rows of running text for pre-training: every window of the token stream once a pass, in a
shuffled order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from fledge.errors import UserError
from fledge.seeds import seed_for
from fledge.trajectories import Trajectories


class Tokens(Protocol):
    """A long row of tokens that is read slice by slice."""

    def __len__(self) -> int: ...
    def __getitem__(self, span: slice) -> np.ndarray: ...


class NumberedRows(Protocol):
    """Rows of one text, numbered without end: `windows` of them are a pass."""

    context: int
    windows: int

    def read(self, number: int) -> np.ndarray: ...


class Windows:
    """The rows of one text, numbered without end: a row is a function of (seed, number) alone.

    Pass e cuts the text into windows from an offset of its own and visits them in an order of its
    own, both computed from (seed, e).
    """

    def __init__(self, stream: Tokens, *, context: int, seed: int, index: str) -> None:
        """index: tells the orders of several texts apart. Raises UserError for a text too short."""
        self.stream, self.context = stream, context
        self.key = seed_for(seed, "data", index)
        self.windows = (
            len(stream) - 2
        ) // context  # whole windows left after an offset, in every pass
        if self.windows > 1:
            self.windows -= 1
        if self.windows < 1:
            raise UserError(
                f"the text has {len(stream)} tokens and one row takes context + 2 = {context + 2}: "
                "give more text or a shorter `context`."
            )
        self._pass: tuple[int, int, np.ndarray] | None = None

    def read(self, number: int) -> np.ndarray:
        """Row `number`.  -> [context + 1]"""
        passed, place = divmod(number, self.windows)
        offset, order = self._order(passed)
        start = offset + int(order[place]) * self.context
        return self.stream[start : start + self.context + 1]

    def _order(self, number: int) -> tuple[int, np.ndarray]:
        """Offset and order of one pass."""
        if self._pass is None or self._pass[0] != number:
            random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, number]))
            spare = len(self.stream) - 1 - self.windows * self.context
            offset = int(random.integers(0, spare + 1))
            # Four bytes a window, the one thing in memory that grows with the text; shuffled as
            # `permutation` would.
            order = np.arange(self.windows, dtype=np.uint32 if self.windows < 2**32 else np.int64)
            random.shuffle(order)
            self._pass = (number, offset, order)
        return self._pass[1], self._pass[2]


class DocumentRows:
    """Endless batches of rows_per_step rows × context tokens. The whole position is one integer:
    rows given so far.

    Documents lie back to back in a row; the token that opens one is never a target: nothing
    foretells it.
    """

    def __init__(
        self,
        stream: Tokens,
        begin: int | None,
        *,
        rows_per_step: int,
        context: int,
        seed: int,
        text: NumberedRows | None = None,
    ) -> None:
        """text: how rows are made of the stream, by default windows of it."""
        self.begin, self.rows = begin, rows_per_step
        self.text: NumberedRows = text or Windows(
            stream, context=context, seed=seed, index="documents"
        )
        self.position = 0
        self.figures: dict[str, float] = {}

    def __iter__(self) -> DocumentRows:
        return self

    def __next__(self) -> Trajectories:
        # Made before it is read: more rows than memory holds are refused at once.
        obs = np.empty((self.rows, self.text.context + 1), dtype=np.int64)
        for i in range(self.rows):
            obs[i] = self.text.read(self.position + i)
        self.position += self.rows
        self.figures = {"epoch": self.position / self.text.windows}
        return text_rows(torch.from_numpy(obs), self.begin)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def text_rows(obs: torch.Tensor, begin: int | None) -> Trajectories:
    """Full rows of text, every token a target but those that only open a document, if there are
    any.  [B, T+1]
    """
    action = obs[:, 1:]
    zeros = torch.zeros(action.shape)
    no = torch.zeros(action.shape, dtype=torch.bool)
    told = ~no if begin is None else action != begin
    return Trajectories(obs, action, told, zeros, no, no)
