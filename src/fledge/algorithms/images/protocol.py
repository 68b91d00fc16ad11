"""What `fledge imagine` asks of what learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.learner import Learner
from fledge.loop import Algorithm
from fledge.models.images.picture_model import PictureModel
from fledge.stopwatch import Stopwatch

MakeLearner = Callable[[nn.Module], Learner]


@dataclass(frozen=True)
class Sheet:
    """A picture of pictures for the report: [N, C, H, W] uint8 of so many levels, laid out row by
    row. name: of its file.
    """

    name: str
    title: str
    note: str
    x: Tensor
    levels: int
    columns: int | None = None


class PictureAlgorithm(Algorithm, Protocol):
    """usual: of the verb's fields, what suits it. model: what is judged, drawn from and saved in
    the end (of averaged weights, where there are any).

    One that is `counted` (a class variable, True) learns in one pass and makes no learner. One that
    has `build_for(settings, train)` is built by it, of the training part.
    """

    usual: ClassVar[Mapping[str, Any]]

    def __init__(
        self,
        settings: Any,
        model: PictureModel,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None: ...

    @classmethod
    def build(cls, settings: Any, shape: PictureShape) -> PictureModel:
        """Fresh, of the process's own generator, which the seed has been given. Raises UserError
        for pictures that it cannot be of.
        """
        ...

    @staticmethod
    def share(model: Any, rows: Pictures) -> Tensor:
        """A loss that costs what a step's does, for measuring which precision is faster."""
        ...

    @property
    def model(self) -> PictureModel: ...

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        """What there is to see beside samples: reconstructions, traversals, …"""
        ...
