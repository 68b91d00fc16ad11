"""Learning by a user's own loss of each picture: `fledge imagine model=FILE.py:Class`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.own import OwnClass
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.models.images.own_model import OwnPictures
from fledge.stopwatch import Stopwatch


class OwnImages:
    """What the registry gives for FILE.py:Class, as an algorithm of pictures."""

    usual: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, own: OwnClass) -> None:
        self.own = own

    def build(self, settings: AlgorithmSettings, shape: PictureShape) -> OwnPictures:
        file = f"{self.own.path.resolve()}:{self.own.kind.__name__}"
        return OwnPictures(shape, {"file": file, **settings.model_dump(mode="json")})

    @staticmethod
    def share(model: OwnPictures, rows: Pictures) -> Tensor:
        return model.loss(rows.x).mean()

    def __call__(
        self,
        settings: AlgorithmSettings,
        model: OwnPictures,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> OwnLoss:
        return OwnLoss(model, make_learner, stopwatch)


class OwnLoss:
    unfinished = None

    def __init__(self, model: OwnPictures, make_learner: MakeLearner, stopwatch: Stopwatch) -> None:
        self.model, self.stopwatch = model, stopwatch
        self.learner = make_learner(model)

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step on the mean loss of the pictures."""
        count = self.learner.count_rows(batch)

        def loss(rows: Pictures) -> tuple[Tensor, Mapping[str, Tensor]]:
            return self.model.loss(rows.x).sum() / count, {}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
