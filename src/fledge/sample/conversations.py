"""Rows of conversation for tuning, and pairs and verdicts of them for preferences; rows of like
length stand side by side.

Padding is what makes tuning slow: a step's rows are sorted by length before they are cut into
micro-batches, which changes the memory and the seconds, never the gradient. With `window` > 1 whole
steps are formed of rows of like length too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from fledge.seeds import seed_for
from fledge.text.packed import TokenRow
from fledge.trajectories import Pairs, Trajectories, from_rows


class ExampleSource(Protocol):
    """Anything with examples by number; `size` None is endless."""

    size: int | None

    def __call__(self, index: int) -> Any: ...


class Shuffled:
    """A list read again and again, each pass in an order of its own: index i is a pure function of
    (seed, i).
    """

    size: int | None

    def __init__(self, items: Sequence[Any] | Sides, seed: int) -> None:
        self.items, self.key, self.size = items, seed_for(seed, "data", "rows"), len(items)
        self._pass: tuple[int, np.ndarray] | None = None

    def __call__(self, index: int) -> Any:
        number, place = divmod(index, len(self.items))
        return self.items[int(self._order(number)[place])]

    def places(self, first: int, count: int) -> np.ndarray:
        """Where in the list the items of so many indices from `first` on are.  -> [count] int64"""
        parts: list[np.ndarray] = []
        while count > 0:
            number, place = divmod(first, len(self.items))
            parts.append(self._order(number)[place : place + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    def _order(self, number: int) -> np.ndarray:
        """Of one pass."""
        if self._pass is None or self._pass[0] != number:
            random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, number]))
            self._pass = (number, random.permutation(len(self.items)))
        return self._pass[1]


class Endless:
    """Examples computed from their number, without end."""

    size: int | None = None

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __call__(self, index: int) -> Any:
        return self.make(index)


class Sides:
    """The answers of pairs one by one, as (row, wanted): the preferred one of a pair, then its
    rejected one.
    """

    def __init__(self, pairs: Sequence[tuple[TokenRow, TokenRow]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def __getitem__(self, index: int) -> tuple[TokenRow, bool]:
        number, side = divmod(index, 2)
        return self.pairs[number][side], side == 0


class ConversationRows:
    """Batches of rows_per_step rows, without end or of `rows_in_all` rows: the last batch has what
    is left of them. stack: makes a batch of rows, which are sorted by the length of their first
    part.

    The whole position is one integer: steps given so far.
    """

    def __init__(
        self,
        rows: ExampleSource,
        *,
        rows_per_step: int,
        seed: int,
        window: int = 1,
        pad: int = 0,
        rows_in_all: int | None = None,
        stack: Callable[[Sequence[Any], int], Any] | None = None,
    ) -> None:
        self.rows, self.rows_per_step, self.window, self.pad = rows, rows_per_step, window, pad
        self.stack = stack or token_rows
        self.key, self.rows_in_all = seed_for(seed, "data", "windows"), rows_in_all
        self.position = 0
        self.figures: dict[str, float] = {}
        self._window: tuple[int, list[list[Any]]] | None = None

    def __iter__(self) -> ConversationRows:
        return self

    def _steps(self, number: int) -> list[list[Any]]:
        """The steps of one window: its rows sorted by length, cut into steps, the steps
        shuffled.
        """
        if self._window is None or self._window[0] != number:
            places = batch_places(number, self.rows_per_step * self.window, self.rows_in_all)
            rows = sorted(map(self.rows, places), key=lambda row: len(row[0]))
            steps = [
                rows[a : a + self.rows_per_step] for a in range(0, len(rows), self.rows_per_step)
            ]
            random = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 1, number]))
            self._window = (number, [steps[i] for i in random.permutation(len(steps))])
        return self._window[1]

    def __next__(self) -> Any:
        number, place = divmod(self.position, self.window)
        batch = self._steps(number)[place]
        self.position += 1
        if self.rows.size is not None:
            given = self.position * self.rows_per_step
            self.figures = {"epoch": min(given, self.rows_in_all or given) / self.rows.size}
        return self.stack(batch, self.pad)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def batch_places(number: int, size: int, in_all: int | None) -> range:
    """The places of batch `number` of `size` rows each; the last one ends where all rows do, if
    they end.
    """
    end = (number + 1) * size
    return range(number * size, end if in_all is None else min(end, in_all))


class PairRows:
    """Batches of pairs_per_step pairs of rows, without end or of `rows_in_all` pairs: the last has
    what is left of them.

    The whole position is one integer: pairs given so far.
    """

    def __init__(
        self,
        pairs: ExampleSource,
        *,
        pairs_per_step: int,
        pad: int = 0,
        rows_in_all: int | None = None,
    ) -> None:
        self.pairs, self.pairs_per_step, self.pad, self.rows_in_all = (
            pairs,
            pairs_per_step,
            pad,
            rows_in_all,
        )
        self.position = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Pairs:
        places = batch_places(
            self.position // self.pairs_per_step, self.pairs_per_step, self.rows_in_all
        )
        batch = sorted(
            map(self.pairs, places), key=lambda pair: max(len(pair[0][0]), len(pair[1][0]))
        )
        self.position += len(places)
        if self.pairs.size is not None:
            self.figures = {"epoch": self.position / self.pairs.size}
        return pair_rows(batch, self.pad)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def token_rows(rows: Sequence[TokenRow], pad: int = 0) -> Trajectories:
    """Rows of (ids, chosen) as one batch."""
    return from_rows([ids for ids, _ in rows], [own for _, own in rows], pad)


def pair_rows(pairs: Sequence[tuple[TokenRow, TokenRow]], pad: int = 0) -> Pairs:
    """Pairs of (ids, chosen) rows as two sets of trajectories."""
    preferred, rejected = (token_rows([pair[side] for pair in pairs], pad) for side in (0, 1))
    return Pairs(preferred, rejected)


class JudgedRows:
    """Batches of rows_per_step answers with a verdict each: a reward of 1 (wanted) or −1 on the
    last token.

    `rows` gives (row, wanted), without end or `rows_in_all` of them: the last batch has what is
    left. The whole position is
    one integer: rows given so far.
    """

    def __init__(
        self,
        rows: ExampleSource,
        *,
        rows_per_step: int,
        pad: int = 0,
        rows_in_all: int | None = None,
    ) -> None:
        self.rows, self.rows_per_step, self.pad, self.rows_in_all = (
            rows,
            rows_per_step,
            pad,
            rows_in_all,
        )
        self.position = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Trajectories:
        places = batch_places(
            self.position // self.rows_per_step, self.rows_per_step, self.rows_in_all
        )
        batch = sorted(map(self.rows, places), key=lambda item: len(item[0][0]))
        self.position += len(places)
        if self.rows.size is not None:
            self.figures = {"epoch": self.position / self.rows.size}
        rows = token_rows([row for row, _ in batch], self.pad)
        verdict = torch.tensor([1.0 if wanted else -1.0 for _, wanted in batch])
        return rows.replace(reward=torch.where(rows.terminated, verdict[:, None], 0.0))

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
