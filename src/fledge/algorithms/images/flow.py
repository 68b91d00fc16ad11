"""Rectified flow (Liu, Gong & Liu 2022, arXiv:2209.03003, eq. 1): learn the velocity of the line
from a picture to noise, at every time along it.

It is no sample → score → weigh → fit: noise is drawn inside of the loss, which is a square error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.averaged import Averaged
from fledge.algorithms.images.network_settings import NetworkSettings
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.images.pictures import UNKNOWN, Pictures, PictureSet, PictureShape
from fledge.models.images.flow import Flow as Model
from fledge.models.images.flow import FlowSampling
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch


@dataclass(frozen=True)
class OnLines(Pictures):
    """numbers, epsilon: [B, C, H, W], the ends of each line; time: [B], where on it. All are drawn
    for the whole step before it is cut.
    """

    numbers: Tensor
    epsilon: Tensor
    time: Tensor


class Flow:
    class Settings(NetworkSettings, FlowSampling):
        times: Literal["even", "logit_normal"] = Field(
            default="even",
            description="where on the line is learned: even, or logit_normal, more in the middle",
        )
        judged_steps: int = Field(
            default=24, ge=1, description="of the flow, for each held-out picture that is judged"
        )

    # So that the package's digits take less than three minutes of one thread.
    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 1000, "rows_per_step": 64, "learning_rate": 2e-3, "warmup_steps": 100,
    }  # fmt: skip
    loss_unit: ClassVar[str] = ""
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.trained, self.seed, self.stopwatch = settings, model, seed, stopwatch
        self.learner = make_learner(model)
        self.average = Averaged(model, settings.ema)

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        settings.check_labels(shape)
        return Model(shape, settings.for_model(Model.name))

    @property
    def model(self) -> Model:
        return self.average.network

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        x = model.to_numbers(rows.x, torch.full(rows.x.shape, 0.5, device=rows.x.device))
        time = torch.full((len(x),), 0.5, device=x.device)
        return (model.velocity(x, time) - x).square().mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: mean square error of the velocity."""
        rows, count = self.draw_lines(batch), self.learner.count_rows(batch)

        def loss(piece: OnLines) -> tuple[Tensor, Mapping[str, Tensor]]:
            return self.lose(piece).sum() / count, {}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
            if "steps_skipped" not in said:
                self.average.follow(self.learner.steps)
        return said | {"rows": float(len(batch))}

    def draw_lines(self, batch: Pictures) -> OnLines:
        """A function of the seed and the step alone."""
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        numbers = self.trained.to_numbers(batch.x, torch.rand(batch.x.shape, generator=generator))
        epsilon = torch.randn(numbers.shape, generator=generator)
        hidden = torch.rand(len(batch), generator=generator) < self.settings.hide_label
        if self.settings.times == "even":  # spread over the rows with one offset
            offset = torch.rand((), generator=generator)
            time = (offset + torch.randperm(len(batch), generator=generator) / len(batch)) % 1
        else:  # Esser et al. 2024, arXiv:2403.03206, eq. 19, with m = 0 and s = 1
            time = torch.randn(len(batch), generator=generator).sigmoid()
        label = batch.label.masked_fill(hidden, UNKNOWN)
        return OnLines(batch.x, label, numbers, epsilon, time)

    def lose(self, rows: OnLines) -> Tensor:
        """Of each row.  -> [B]"""
        time = rows.time[:, None, None, None]
        between = (1 - time) * rows.numbers + time * rows.epsilon
        label = rows.label if self.trained.by_label else None
        said = self.trained.velocity(between, rows.time, label)
        return (said - (rows.epsilon - rows.numbers)).square().flatten(1).mean(1)

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "average": self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
