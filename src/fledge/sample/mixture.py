"""Rows of running text from several sources, each with the share of them that was asked for.

Which source the next row is of follows from the shares alone: the one with the smallest
(rows given + 1/2) / share, as Sainte-Laguë's method fills seats. So every step has its share of
each source to within a row or so, and after a number of rows that the shares divide, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fledge.errors import UserError
from fledge.sample.documents import NumberedRows, Tokens, Windows, text_rows
from fledge.trajectories import Trajectories


class MixedRows:
    """Endless batches as `DocumentRows` has them, of several texts. State: the rows of each that
    were given.
    """

    def __init__(
        self,
        streams: Sequence[Tokens],
        names: Sequence[str],
        shares: Sequence[float],
        begin: int | None,
        *,
        rows_per_step: int,
        context: int,
        seed: int,
        make: Callable[[int, Tokens], NumberedRows] | None = None,
    ) -> None:
        """shares: of all rows, one for each stream. make: the rows of a stream, told its number; by
        default windows of it. Raises UserError for a source that is too short.
        """
        self.begin, self.rows, self.shares = begin, rows_per_step, np.array(shares)
        self.texts: list[NumberedRows] = []

        def cut(number: int, stream: Tokens) -> NumberedRows:
            return Windows(stream, context=context, seed=seed, index=f"documents {number}")

        for number, (name, stream) in enumerate(zip(names, streams, strict=True)):
            try:
                self.texts.append((make or cut)(number, stream))
            except UserError as error:
                raise UserError(f"{name}: {error}") from None
        self.given = [0] * len(self.texts)
        self.figures: dict[str, float] = {}

    def __iter__(self) -> MixedRows:
        return self

    def __next__(self) -> Trajectories:
        self.given = list(self.given)  # a copy of the sampler goes on from where it was made
        obs = np.empty((self.rows, self.texts[0].context + 1), dtype=np.int64)
        for i in range(self.rows):
            obs[i] = self._next_row()
        self.figures = {
            f"epoch_{number}": given / text.windows
            for number, (given, text) in enumerate(zip(self.given, self.texts, strict=True), 1)
        }
        return text_rows(torch.from_numpy(obs), self.begin)

    def _next_row(self) -> np.ndarray:
        source = int(np.argmin((np.array(self.given) + 0.5) / self.shares))
        row = self.texts[source].read(self.given[source])
        self.given[source] += 1
        return row

    def state_dict(self) -> dict[str, Any]:
        return {"given": list(self.given)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.given = list(state["given"])
