"""Counting pictures: likelihood is greatest where probabilities are shares of counts, so that one
pass over the data is all. Nothing is weighed or descended; α is added to each count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.models.images.counted import ChowLiu as Tree
from fledge.models.images.counted import Histogram as Independent
from fledge.models.images.counted import PictureTable, count_pairs
from fledge.stopwatch import Stopwatch


class Histogram:
    """Each number for itself, or a cell for every picture that there is."""

    class Settings(AlgorithmSettings):
        add: float = Field(default=0.5, gt=0, description="counts added to every cell")
        joint: bool = Field(
            default=False, description="a cell for each whole picture, where there are few"
        )

    usual: ClassVar[Mapping[str, Any]] = {"rows_per_step": 4096}
    counted: ClassVar[bool] = True
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Independent | PictureTable,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.stopwatch = settings, model, stopwatch

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Independent | PictureTable:
        kind = PictureTable if settings.joint else Independent
        return kind(shape, {"add": settings.add})

    @staticmethod
    def share(model: Any, rows: Pictures) -> Tensor:
        return model.nats(rows).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """loss: nats of a picture of the batch, by what was counted before it."""
        with self.stopwatch.phase("fit"):
            loss = float(self.model.nats(batch).mean())
            self.model.count_in(self.model.to_row(batch.x))
        return {"loss": loss, "rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])


class ChowLiu:
    """The best of all trees (Chow & Liu 1968), by how often two numbers have two levels."""

    class Settings(AlgorithmSettings):
        add: float = Field(default=0.5, gt=0, description="counts added to every pair of levels")

    usual: ClassVar[Mapping[str, Any]] = {"rows_per_step": 4096}
    counted: ClassVar[bool] = True
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Tree,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.stopwatch = settings, model, stopwatch
        D, L = model.length, model.values
        self.pairs = torch.zeros(D, L, D, L, dtype=torch.float64)

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Tree:
        return Tree(shape, {"add": settings.add})

    @staticmethod
    def share(model: Tree, rows: Pictures) -> Tensor:
        return model.nats(rows).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """loss: nats of a picture of the batch, by the tree of what was counted before it."""
        with self.stopwatch.phase("fit"):
            loss = float(self.model.nats(batch).mean())
            row = batch.x.permute(0, 2, 3, 1).flatten(1).long()
            self.pairs += count_pairs(row, self.model.values)
            self.model.settle(self.pairs)
        return {"loss": loss, "rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pairs = state["pairs"]
        self.model.load_state_dict(state["model"])
