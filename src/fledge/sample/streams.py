"""Text as a few readers that each go on where they stopped: for models that carry a state from one
step to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fledge.errors import UserError
from fledge.sample.documents import text_rows
from fledge.seeds import generator_for
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories


class StreamRows:
    """Row i of a step goes on where row i of the step before ended. The readers stand equally far
    apart on the stream, which is a ring: one that reaches where the next began reads on.

    seed: where on the ring they begin. What a reader sees is a function of that and of the step.
    """

    def __init__(
        self, stream: TokenStream, begin: int | None, *, rows_per_step: int, context: int, seed: int
    ) -> None:
        if len(stream) < max(2, rows_per_step):
            raise UserError(
                f"the text has {len(stream)} tokens and {rows_per_step} rows read it side by side: "
                "give more text, or a smaller tokens_per_step."
            )
        self.stream, self.begin = stream, begin
        self.rows, self.context = rows_per_step, context
        generator = generator_for(seed, "data")
        first = int(torch.randint(len(stream), (), generator=generator))
        self.first = [first + i * len(stream) // rows_per_step for i in range(rows_per_step)]
        self.steps = 0
        self.figures: dict[str, float] = {}

    def __iter__(self) -> StreamRows:
        return self

    def __next__(self) -> Trajectories:
        n = len(self.stream)
        obs = np.empty((self.rows, self.context + 1), dtype=np.int64)
        for i, first in enumerate(self.first):
            place = (first + self.steps * self.context) % n
            taken = 0
            while taken <= self.context:  # a short text goes round more than once
                piece = self.stream[place : place + self.context + 1 - taken]
                obs[i, taken : taken + len(piece)] = piece
                taken, place = taken + len(piece), 0
        self.steps += 1
        self.figures = {"epoch": self.steps * self.rows * self.context / n}
        return text_rows(torch.from_numpy(obs), self.begin)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
