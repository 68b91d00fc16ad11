"""What tasks have in common whose answers stand in the data themselves: an encoder that is kept,
heads that are not, and random numbers by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.pictures import PictureShape
from fledge.learner import Learner
from fledge.models.images.encoder import PictureEncoder
from fledge.seeds import generator_for, seed_for
from fledge.stopwatch import Stopwatch

Part = TypeVar("Part", bound=nn.Module)
USUAL: Mapping[str, Any] = {"steps": 1500, "rows_per_step": 64}


class EncoderSettings(AlgorithmSettings):
    """Of the vision transformer that learns."""

    patch: int | None = Field(
        default=None, ge=1, description="pixels a side of a patch; none: 4, in small pictures 2"
    )
    width: int = Field(default=64, ge=4, description="numbers of a token, and of what is learned")
    layers: int = Field(default=3, ge=1, description="of the encoder")
    heads: int = Field(default=4, ge=1, description="of its attention")
    probe_labels: int = Field(
        default=500, ge=10, description="labelled pictures that a probe sees, when it is judged"
    )

    def build(self, shape: PictureShape, *, grey: bool = False, window: int = 0) -> PictureEncoder:
        """Raises UserError for pictures that patches do not fill, and widths that heads do not
        divide.
        """
        patch = self.patch or (4 if min(shape.height, shape.width) >= 16 else 2)
        if shape.height % patch or shape.width % patch:
            raise UserError(
                f"patch={patch} does not divide pictures of {shape.height} × {shape.width}: give "
                "a divisor of both sides, or pictures of another size."
            )
        if self.width % self.heads:
            raise UserError(
                f"width={self.width} was given with heads={self.heads}: give a multiple of heads."
            )
        settings = {
            "patch": patch, "width": self.width, "layers": self.layers, "heads": self.heads,
            "grey": grey, "window": window * patch,
        }  # fmt: skip
        return PictureEncoder(shape, settings)


class Pretext:
    """An algorithm's constructor and state; what it learns by is its own `update`. heads: beside
    the encoder, by name; `heads_of` makes them.
    """

    usual: ClassVar[Mapping[str, Any]] = USUAL
    unfinished = None
    Settings: type[Any] = EncoderSettings

    def __init__(
        self,
        settings: Any,
        model: PictureEncoder,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.seed, self.stopwatch = settings, model, seed, stopwatch
        heads = make_seeded(seed, "heads", self.make_heads).to(model.place.device)
        self.heads: Any = heads
        self.learner = make_learner(nn.ModuleDict({"encoder": model, "heads": heads}))

    @classmethod
    def build(cls, settings: Any, shape: PictureShape) -> PictureEncoder:
        return settings.build(shape)

    def make_heads(self) -> nn.Module:
        raise NotImplementedError

    @staticmethod
    def share(model: PictureEncoder, rows: Any) -> Tensor:
        x = rows.x if hasattr(rows, "x") else rows.frames[:, 0]
        return model.features(x).square().mean()

    def draw_sheets(self, held_out: Any, generator: torch.Generator) -> Sequence[Sheet]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def make_seeded(seed: int, name: str, make: Callable[[], Part]) -> Part:
    """Fresh weights of a stream of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "weights", name))
        return make()


def noise_for(seed: int, learner: Learner) -> torch.Generator:
    """Of the step in hand, a pure function of its number: for the whole batch, before it is cut."""
    return generator_for(seed, "noise", learner.steps + learner.skipped)


def sum_of_right(logits: Tensor, answer: Tensor, count: Tensor) -> Tensor:
    """Its share of the step's accuracy.  [B, K], [B] -> []"""
    return (logits.argmax(1) == answer).sum() / count
