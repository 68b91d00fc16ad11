"""Pictures in batches: every pass over them in an order of its own, each changed by chance where
that is asked for; or one pass, for what is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fledge.images.augment import Change, augment
from fledge.images.pictures import Pictures, PictureSet
from fledge.sample.conversations import Shuffled
from fledge.seeds import generator_for


class PictureBatches:
    """The position is one integer, batches given so far: what batch i holds, and how its pictures
    are changed, is a pure function of (seed, i).
    """

    def __init__(
        self,
        given: PictureSet,
        rows_per_step: int,
        seed: int,
        changes: tuple[Change, ...] = (),
    ) -> None:
        self.given, self.rows_per_step, self.changes, self.seed = (
            given, rows_per_step, changes, seed,
        )  # fmt: skip
        self.order = Shuffled(range(len(given)), seed)
        self.position, self.figures = 0, {}

    def __next__(self) -> Pictures:
        places = self.order.places(self.position * self.rows_per_step, self.rows_per_step)
        rows = self.given.rows[torch.from_numpy(places)]
        if self.changes:
            generator = generator_for(self.seed, "data", f"changes {self.position}")
            x = augment(rows.x, self.changes, self.given.shape.levels, generator)
            rows = rows.replace(x=x)
        self.position += 1
        return rows

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


class OnePass:
    """Every picture once, in the order of the set, in `batches` of as many rows (the last of
    fewer).
    """

    def __init__(self, given: PictureSet, rows_per_step: int) -> None:
        self.given, self.rows_per_step = given, rows_per_step
        self.batches = -(-len(given) // rows_per_step)
        self.position, self.figures = 0, {}

    def __next__(self) -> Pictures:
        first = self.position * self.rows_per_step
        self.position += 1
        return self.given.rows[slice(first, first + self.rows_per_step)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
