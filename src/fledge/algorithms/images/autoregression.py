"""Maximum likelihood of pictures whose numbers are said one by one: the mean of −Σ_t log p(x_t |
x_1 … x_{t−1}) falls. sample: the data. score: none. weigh: every number 1. fit: nll.

What learns differs by its network alone; each has its `Settings` here.
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
from fledge.models.images import made, nade, pixel_lstm, pixel_transformer, pixelcnn, wavenet
from fledge.models.images.attention_patterns import Pattern
from fledge.models.images.autoregressive import Autoregressive
from fledge.stopwatch import Stopwatch

COMPLETED, TIMES = 4, 7  # held-out pictures that are completed, and how often each
USUAL: dict[str, Any] = {"steps": 2000, "rows_per_step": 64, "learning_rate": 2e-3}


class Autoregression:
    """kind: the network, which is made of all the settings."""

    kind: ClassVar[type[Autoregressive]]
    usual: ClassVar[Mapping[str, Any]] = USUAL
    unfinished = None

    def __init__(
        self,
        settings: AlgorithmSettings,
        model: Autoregressive,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.stopwatch = settings, model, stopwatch
        self.learner = make_learner(model)

    @classmethod
    def build(cls, settings: AlgorithmSettings, shape: PictureShape) -> Autoregressive:
        return cls.kind(shape, settings.model_dump())

    @classmethod
    def build_for(cls, settings: Any, given: PictureSet) -> Any:
        """What a place shows by itself is counted, and need not be learned."""
        return begin_at_counts(cls.build(settings, given.shape), given)

    @staticmethod
    def share(model: Autoregressive, rows: Pictures) -> Tensor:
        return model.learned_nats(rows, 0).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a picture."""
        step = self.learner.steps + self.learner.skipped
        count = self.learner.count_rows(batch)

        def loss(rows: Pictures) -> tuple[Tensor, Mapping[str, Tensor]]:
            return self.model.learned_nats(rows, step).sum() / count, {}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, batch)
        return said | {"rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        """Pictures of which the upper half is given, where that is said first."""
        model = self.model
        if model.order is not None or model.shape.height < 2:
            return []
        rows = held_out.rows.spread(COMPLETED)
        half = model.shape.height // 2 * (model.length // model.shape.height)
        row = model.to_row(rows.x)
        given = row[:, :half].repeat_interleave(TIMES, 0)
        label = rows.label.repeat_interleave(TIMES) if model.by_label else None
        uniform = torch.rand(len(given), model.length, generator=generator)
        drawn = model.to_pictures(model.draw(uniform, label, given)).unflatten(0, (-1, TIMES))
        first = model.to_pictures(row)[:, None]
        return [
            Sheet(
                "completed", "Completed", "a held-out picture, and its upper half with the rest "
                "drawn, as often as fits", torch.cat([first, drawn], 1).flatten(0, 1),
                model.shape.levels, 1 + TIMES,
            )
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def begin_at_counts(model: Any, given: PictureSet) -> Any:
    """The same, which now is a histogram of these pictures."""
    model.place_bias.begin_at_counts(model.to_row(given.rows.x))
    return model


class NADE(Autoregression):
    kind = nade.NADE

    class Settings(AlgorithmSettings):
        width: int = Field(default=256, ge=1, description="of the hidden layer")


class MADE(Autoregression):
    kind = made.MADE

    class Settings(AlgorithmSettings):
        width: int = Field(default=512, ge=1, description="of the hidden layers")
        layers: int = Field(default=2, ge=1, description="hidden layers")
        masks: int = Field(
            default=1, ge=1, description="draws of what sees what, whose conditionals are averaged"
        )
        shuffled: bool = Field(
            default=False,
            description="numbers are said in an order that is drawn, not read",
        )


class WaveNet(Autoregression):
    kind = wavenet.WaveNet

    class Settings(AlgorithmSettings):
        width: int = Field(default=48, ge=1, description="channels")
        blocks: int = Field(
            default=1, ge=1, description="of layers whose dilations double until all is seen"
        )


class PixelCNN(Autoregression):
    kind = pixelcnn.PixelCNN
    # So that the package's digits take less than three minutes of one thread.
    usual: ClassVar[Mapping[str, Any]] = USUAL | {"steps": 1200}

    class Settings(AlgorithmSettings):
        width: int = Field(default=32, ge=1, description="channels of either stack")
        layers: int = Field(default=6, ge=1, description="gated layers of two stacks")
        reach: int = Field(
            default=2, ge=1, description="pixels that a layer sees to each side, and above"
        )
        by_label: bool = Field(default=False, description="draw what a label asks for")


class PixelLSTM(Autoregression):
    kind = pixel_lstm.PixelLSTM

    class Settings(AlgorithmSettings):
        width: int = Field(default=128, ge=1, description="of the hidden state")
        layers: int = Field(default=1, ge=1, description="LSTMs on each other")


class PixelTransformer(Autoregression):
    """A palette, where there is one, is learned before anything else."""

    kind = pixel_transformer.PixelTransformer
    usual: ClassVar[Mapping[str, Any]] = USUAL | {"steps": 600}  # as of PixelCNN

    class Settings(AlgorithmSettings):
        width: int = Field(default=96, ge=1, description="of the residual stream")
        heads: int = Field(default=4, ge=1, description="of attention in a layer")
        layers: int = Field(default=4, ge=1, description="blocks")
        attention: Pattern = Field(
            default="full",
            description="what is attended to: full (all before), strided (the last `stride` places "
            "and every stride-th) or fixed (the block of `stride` places, and each block's last)",
        )
        stride: int = Field(default=0, ge=0, description="places; 0: a row of the picture")
        summary: int = Field(
            default=1, ge=1, description="last places of a block that the fixed pattern shows later"
        )
        palette: int = Field(
            default=512,
            ge=2,
            le=65536,
            description="colours that pixels in colour are reduced to where they can be of more; "
            "nats are then of these",
        )

    @classmethod
    def build_for(cls, settings: Any, given: PictureSet) -> pixel_transformer.PixelTransformer:
        """With the palette of these pictures."""
        model: Any = cls.build(settings, given.shape)
        model.learn_palette(given.rows.x, torch.default_generator)
        return begin_at_counts(model, given)
