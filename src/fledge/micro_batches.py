"""Which rows of a batch are computed with together: micro-batches of rows of like length, so that
little of what is computed is padding. They change memory and seconds, never what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.trajectories import Trajectories

# What a micro-batch costs beside its tokens, in tokens: reading the weights twice, and products too
# narrow to keep the cores busy.
COST = 64


@dataclass(frozen=True)
class MicroBatches:
    """rows: so many at a time. tokens: in place of it, as many rows as have so many steps together,
    padding included, and at least one. Neither: the whole batch at once.
    """

    rows: int | None = None
    tokens: int | None = None

    def cut(self, batch: Any) -> Iterator[Any]:
        """The batch in micro-batches, each trimmed to its own longest row.

        batch: Rows of any kind.
        """
        yield from (piece for piece, _ in self.cut_with_rows(batch))

    def cut_with_rows(self, batch: Any) -> Iterator[tuple[Any, Tensor]]:
        """The same, and which rows of the batch each has, [b] long."""
        places = self._place(batch.lengths.cpu())
        rows = (torch.arange(len(batch)),) if places is None else places
        pieces = self._split(batch, places)
        yield from ((piece.trim(), own) for piece, own in zip(pieces, rows, strict=True))

    def count(self, batch: Any, rows: Tensor) -> int:
        """How many micro-batches these rows of the batch are cut into, [b] long."""
        if not len(rows):
            return 0
        places = self._place(batch.lengths.cpu()[rows])
        return 1 if places is None else len(places)

    def map(self, function: Callable[[Any], Sequence[Tensor]], batch: Trajectories) -> list[Tensor]:
        """What `function` says of the rows, [b, t, …] or [b] each, asked a micro-batch at a time
        and put back in their order; 0 behind the steps of a micro-batch.  -> [B, T, …] or [B]

        What is said of every observation, [b, t+1, …], stays what it is at the last one: a row that
        has not ended is worth what a critic says there.
        """
        places, steps = self._place(batch.lengths.cpu()), batch.chosen.shape[1]
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

    def _place(self, lengths: Tensor) -> list[Tensor] | None:
        """The rows of each micro-batch, by all rows' lengths [B, K]; None where one is enough."""
        if self.rows is not None:
            if self.rows >= len(lengths):
                return None
            order = lengths.sum(1).argsort(descending=True, stable=True)
            return list(order.split(self.rows))
        if self.tokens is None or len(lengths) < 2:
            return None
        return group_by_length(lengths, self.tokens)


def group_by_length(lengths: Tensor, tokens: int, cost: int = COST) -> list[Tensor]:
    """Rows in groups of at most `tokens` steps, padding included, for which the sum of steps, and
    of `cost` for each group, is least among all ways to cut rows sorted by length.  -> their
    numbers, the longest first

    lengths: [B, K], steps of each of the K sequences that a row consists of, which are padded each
    for itself. By dynamic programming over where the last group begins.
    """
    order = lengths.sum(1).argsort(descending=True, stable=True)
    ordered = lengths[order].tolist()
    least, begins = [0.0], [0]  # of the first n rows, and where their last group begins
    for end in range(1, len(ordered) + 1):
        best, begin = float("inf"), end - 1
        longest = [0] * lengths.shape[1]
        for start in range(end - 1, -1, -1):
            longest = list(map(max, longest, ordered[start]))
            steps = (end - start) * sum(longest)
            if steps > tokens and start < end - 1:
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


def _lengthen(x: Tensor, own: int, steps: int) -> Tensor:
    """Of `own` steps -> of `steps`, 0 there; of their observations, the last one's again; [b] as it
    is.
    """
    if x.ndim == 1 or own == steps:
        return x
    if x.shape[1] == own + 1:
        return torch.cat([x, *[x[:, -1:]] * (steps - own)], 1)
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, steps - own))
