"""Which rows of a batch are computed with together: micro-batches of rows of like length, so that
little of what is computed is padding. They change memory and seconds, never what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.trajectories import Trajectories

Row = TypeVar("Row")

# What a micro-batch costs beside its tokens, in tokens: reading the weights twice, and products too
# narrow to keep the cores busy.
COST = 64
# What a step of padding costs, in tokens, where only attention computes it.
ATTENDED = 0.25
# Tokens that are read at a time where nothing is learned, padding included: as many rows as have
# so many, since what a network holds meanwhile grows with the tokens and not with the rows.
READ = 4096


@dataclass(frozen=True)
class MicroBatches:
    """rows: so many at a time. tokens: in place of it, as many rows as have so many steps together,
    padding included, and at least one. Neither: the whole batch at once. shared: rows are laid end
    to end, so that padding costs attention alone, and rows of the same prompt, computed with it
    once, are kept together. padded: whether padding is computed; if not, tokens are counted without
    it, and a batch is cut for memory alone.
    """

    rows: int | None = None
    tokens: int | None = None
    shared: bool = False
    padded: bool = True

    def cut(self, batch: Any) -> Iterator[Any]:
        """The batch in micro-batches, each trimmed to its own longest row.

        batch: Rows of any kind.
        """
        yield from (piece for piece, _ in self.cut_with_rows(batch))

    def cut_with_rows(self, batch: Any) -> Iterator[tuple[Any, Tensor]]:
        """The same, and which rows of the batch each has, [b] long."""
        places = self._place(batch)
        rows = (torch.arange(len(batch)),) if places is None else places
        pieces = self._split(batch, places)
        yield from ((piece.trim(), own) for piece, own in zip(pieces, rows, strict=True))

    def count(self, batch: Any, rows: Tensor) -> int:
        """How many micro-batches these rows of the batch are cut into, [b] long."""
        if not len(rows):
            return 0
        places = self._place(batch, rows)
        return 1 if places is None else len(places)

    def map(self, function: Callable[[Any], Sequence[Tensor]], batch: Trajectories) -> list[Tensor]:
        """What `function` says of the rows, [b, t, …] or [b] each, asked a micro-batch at a time
        and put back in their order; 0 behind the steps of a micro-batch.  -> [B, T, …] or [B]

        What is said of every observation, [b, t+1, …], stays what it is at the last one: a row that
        has not ended is worth what a critic says there.
        """
        places, steps = self._place(batch), batch.chosen.shape[1]
        answers: list[list[Tensor]] = []
        for piece in self._split(batch, places):
            piece = piece.trim()
            own = piece.chosen.shape[1]
            answers.append([_lengthen(x, own, steps) for x in function(piece)])
        joined = [torch.cat(parts) for parts in zip(*answers, strict=True)]
        if places is None:
            return joined
        order = torch.cat(places).argsort()
        return [x[order.to(x.device)] for x in joined]

    def _split(self, batch: Any, places: list[Tensor] | None) -> Iterator[Any]:
        yield from (batch,) if places is None else (batch[place] for place in places)

    def _place(self, batch: Any, rows: Tensor | None = None) -> list[Tensor] | None:
        """The rows of each micro-batch; None where one is enough. rows: of those of the batch that
        are computed with, by default all [b].
        """
        if self.rows is None and self.tokens is None:
            return None
        chosen = slice(None) if rows is None else rows
        lengths = batch.lengths.cpu()[chosen]
        if self.rows is not None:
            if self.rows >= len(lengths):
                return None
            order = lengths.sum(1).argsort(descending=True, stable=True)
            return list(order.split(self.rows))
        if self.tokens is None or len(lengths) < 2:
            return None
        if not self.padded:
            return divide_evenly(lengths.sum(1), self.tokens)
        prompts = batch.prompts if self.shared else None
        return group_by_length(
            lengths,
            self.tokens,
            prompts=None if prompts is None else prompts.cpu()[chosen],
            padding=ATTENDED if self.shared else 1.0,
        )


def cut_in_order(lengths: Iterable[int], tokens: int = READ) -> Iterator[slice]:
    """Where the groups of `gather_rows` lie, of rows of these lengths."""
    for group in gather_rows(enumerate(lengths), lambda row: row[1], tokens):
        yield slice(group[0][0], group[-1][0] + 1)


def gather_rows(
    rows: Iterable[Row], steps: Callable[[Row], int], tokens: int = READ
) -> Iterator[list[Row]]:
    """Neighbours in groups of at most `tokens` steps, padding included, and at least one row.

    steps: of a row, those of all its sequences together.
    """
    waiting: list[Row] = []
    longest = 0
    for row in rows:
        size = steps(row)
        if waiting and (len(waiting) + 1) * max(longest, size) > tokens:
            yield waiting
            waiting, longest = [], 0
        waiting.append(row)
        longest = max(longest, size)
    if waiting:
        yield waiting


def group_by_length(
    lengths: Tensor,
    tokens: int,
    cost: int = COST,
    prompts: Tensor | None = None,
    padding: float = 1.0,
) -> list[Tensor]:
    """Rows in groups of at most `tokens` steps, each step of padding counted as so much of one, for
    which the sum of steps, and of `cost` for each group, is least among all ways to cut rows sorted
    by length.  -> their numbers, the longest first

    lengths: [B, K], steps of each of the K sequences that a row consists of, which are padded each
    for itself. prompts: [B, 2], which prompt is how many of a row's steps: a group has each of its
    prompts once, padded to the longest, and rows are sorted prompt by prompt; one long prompt has
    room for half of `tokens` of answers, or each of them would compute it again. By dynamic
    programming over where the last group begins.
    """
    order = lengths.sum(1).argsort(descending=True, stable=True)
    names = [(-1, 0)] * len(lengths)  # nobody shares anything
    if prompts is not None:
        order = order[sort_by_prompt(prompts[order, 0])]
        names = [(name, steps) for name, steps in prompts[order].tolist()]
        lengths = lengths - prompts[:, 1:]
    ordered = lengths[order].tolist()
    least, begins = [0.0], [0]  # of the first n rows, and where their last group begins
    for end in range(1, len(ordered) + 1):
        best, begin = float("inf"), end - 1
        longest, prompt, different, seen, own = [0] * lengths.shape[1], 0, 0, -1, 0
        for start in range(end - 1, -1, -1):
            longest = list(map(max, longest, ordered[start]))
            name, first = names[start]
            own += sum(ordered[start]) + (first if name != seen else 0)
            prompt, different, seen = max(prompt, first), different + (name != seen), name
            whole = (end - start) * sum(longest) + different * prompt
            steps = own + padding * (whole - own)
            room = tokens if different != 1 else max(tokens, prompt + tokens // 2)
            if steps > room and start < end - 1:
                break
            if least[start] + steps + cost < best:
                best, begin = least[start] + steps + cost, start
        least.append(best)
        begins.append(begin)
    groups, end = [], len(ordered)
    while end:
        groups.append(order[begins[end] : end])
        end = begins[end]
    return groups[::-1]


def divide_evenly(sizes: Tensor, tokens: int) -> list[Tensor]:
    """Rows, the longest first, in as few groups as have at most so many tokens each, or one row,
    and of like size among themselves: what a group holds in memory is then least.  [B] -> their
    numbers
    """
    order = sizes.argsort(descending=True, stable=True)
    ordered = sizes[order]
    middle = ordered.cumsum(0) - ordered / 2  # of each row, in tokens from the first
    for groups in range(max(1, -(-int(sizes.sum()) // tokens)), len(sizes)):
        place = (middle * groups / ordered.sum()).long().clamp(max=groups - 1)
        own = [order[place == group] for group in range(groups)]
        if all(len(rows) < 2 or int(sizes[rows].sum()) <= tokens for rows in own):
            return [rows for rows in own if len(rows)]
    return list(order.split(1))


def sort_by_prompt(names: Tensor) -> Tensor:
    """An order in which rows of one prompt stand together, the prompts as each was first met.  [B]
    -> [B]
    """
    met = {name: place for place, name in reversed(list(enumerate(names.tolist())))}
    return torch.tensor([met[name] for name in names.tolist()]).argsort(stable=True)


def _lengthen(x: Tensor, own: int, steps: int) -> Tensor:
    """Of `own` steps -> of `steps`, 0 there; of their observations, the last one's again; [b] as it
    is.
    """
    if x.ndim == 1 or own == steps:
        return x
    if x.shape[1] == own + 1:
        return torch.cat([x, *[x[:, -1:]] * (steps - own)], 1)
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, steps - own))
