"""Points in batches: all of them every time, or a block of them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fledge.rows.points import Points
from fledge.seeds import generator_for


@dataclass(frozen=True)
class Block:
    """Points that an algorithm sees at a time. number: which block of `of` it is."""

    points: Points
    number: int
    of: int

    def count_actions(self) -> int:
        return len(self.points)


class PointBlocks:
    """The same division into blocks, drawn once of the seed, over and over; each pass in an order
    of its own.
    """

    def __init__(self, points: Points, block_points: int | None, seed: int) -> None:
        """block_points: of a block; None: all points are one."""
        self.points, self.figures = points, {}
        N = len(points)
        self.of = 1 if block_points is None else max(1, round(N / block_points))
        self.seed, self.place = seed, 0
        if self.of > 1:
            self.order = torch.randperm(N, generator=generator_for(seed, "data")).chunk(self.of)
            self.of = len(self.order)

    def __next__(self) -> Block:
        if self.of == 1:
            self.place += 1
            return Block(self.points, 0, 1)
        turn, step = divmod(self.place, self.of)
        # the first pass goes in order: what counts blocks has then seen each
        generator = generator_for(self.seed, "data", turn)
        order = torch.randperm(self.of, generator=generator) if turn else torch.arange(self.of)
        self.place += 1
        number = int(order[step])
        return Block(self.points.take(self.order[number]), number, self.of)

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]
