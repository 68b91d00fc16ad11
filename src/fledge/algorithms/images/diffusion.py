"""Diffusion (Ho, Jain & Abbeel 2020, arXiv:2006.11239): learn to say the clean picture in a noisy
one, at every amount of noise.

It is no sample → score → weigh → fit: noise is drawn inside of the loss, which is a bound on
−log p(x) whose terms are weighed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from fledge.algorithms.images.averaged import Averaged
from fledge.algorithms.images.network_settings import NetworkSettings
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.errors import UserError
from fledge.images.pictures import UNKNOWN, Pictures, PictureSet, PictureShape
from fledge.models.images.denoising import Prediction, Variance
from fledge.models.images.diffusion import Diffusion as Model
from fledge.models.images.diffusion import DiffusionSampling
from fledge.models.images.diffusion_bound import step_nats
from fledge.models.images.noise_levels import Shape, add_noise
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

BOUND_SHARE = 1e-3  # of the bound in the loss that teaches the variance (Nichol & Dhariwal, eq. 16)
STAGES, SHOWN = 8, 8  # of the sheet that shows how pictures come


@dataclass(frozen=True)
class Noised(Pictures):
    """epsilon: [B, C, H, W]; log_snr, before: [B] float64, of the time drawn and of the step
    before it. All are drawn for the whole step before it is cut.
    """

    numbers: Tensor
    epsilon: Tensor
    log_snr: Tensor
    before: Tensor


class Diffusion:
    class Settings(NetworkSettings, DiffusionSampling):
        noise_schedule: Shape = Field(
            default="cosine",
            description="of the noise: linear, cosine, sigmoid (of ᾱ) or sigmoid_beta (of β)",
        )
        noise_steps: int = Field(
            default=1000, ge=0, description="of the chain from picture to noise; 0: continuous time"
        )
        prediction: Prediction = Field(
            default="v", description="what the network says: epsilon (the noise), v or x"
        )
        weighting: Literal["none", "min_snr"] = Field(
            default="none",
            description="of the loss at each time: none (of what is predicted) or min_snr (of x, "
            "by its signal-to-noise ratio up to snr_cap)",
        )
        snr_cap: float = Field(
            default=5.0, gt=0, description="with min_snr: the most that a time weighs"
        )
        variance: Variance = Field(
            default="small",
            description="of a step back: small (the posterior's), large (β) or learned between "
            "them, by a share of the bound in the loss",
        )
        judged_steps: int = Field(
            default=32,
            ge=1,
            description="steps at which the bound of each held-out picture is asked; unbiased with "
            "any, all from noise_steps − 1 on",
        )

        @model_validator(mode="after")
        def _go_together(self) -> Self:
            if self.noise_steps == 0 and self.variance != "small":
                raise UserError(
                    f"variance={self.variance} was given with noise_steps=0: in continuous time "
                    "steps back have one variance. Leave it out, or give noise_steps=1000."
                )
            if self.noise_steps == 1:
                raise UserError(
                    "noise_steps=1 was given: a chain has 2 steps or more, usually 1000; 0 is "
                    "continuous time."
                )
            return self

    # So that the package's digits take less than three minutes of one thread.
    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 1200, "rows_per_step": 64, "learning_rate": 2e-3, "warmup_steps": 100,
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
        x = model.to_numbers(rows.x, torch.Generator())
        said, _ = model.denoising.ask(x, torch.zeros(len(x), device=x.device), None)
        return (said - x).square().mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: mean square of the error of what is predicted, as weighed;
        error: of the clean picture, a number.
        """
        rows, count = self.add_noise(batch), self.learner.count_rows(batch)

        def loss(piece: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
            each, error = self.lose(piece)
            return each.sum() / count, {"error": error.sum() / count}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
            if "steps_skipped" not in said:
                self.average.follow(self.learner.steps)
        return said | {"rows": float(len(batch))}

    def add_noise(self, batch: Pictures) -> Noised:
        """Times, noise and hidden labels: a function of the seed and the step alone."""
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        device = self.learner.device
        numbers = self.trained.to_numbers(batch.x.to(device), generator).to(batch.x.device)
        log_snr, before = self.trained.denoising.draw_times(len(batch), generator)
        epsilon = torch.randn(numbers.shape, generator=generator)
        hidden = torch.rand(len(batch), generator=generator) < self.settings.hide_label
        label = batch.label.masked_fill(hidden, UNKNOWN)
        return Noised(batch.x, label, numbers, epsilon, log_snr, before)

    def lose(self, rows: Noised) -> tuple[Tensor, Tensor]:
        """The loss of each row, and the square error of its clean picture, a number.  -> [B]
        twice
        """
        own, denoising = self.settings, self.trained.denoising
        z = add_noise(rows.numbers, rows.log_snr, rows.epsilon)
        label = rows.label if self.trained.by_label else None
        said, fraction = denoising.ask(z, rows.log_snr, label)
        wanted = denoising.target(rows.numbers, rows.epsilon, rows.log_snr)
        each = (said - wanted).square().flatten(1).mean(1)
        if own.weighting == "min_snr":
            each = each * min_snr_weight(rows.log_snr, own.prediction, own.snr_cap).to(each)
        with torch.no_grad():
            clean = denoising.to_clean(said, z, rows.log_snr)
            if denoising.bounded:
                clean = clean.clamp(-1, 1)
            error = (clean - rows.numbers).square().flatten(1).mean(1)
        if own.variance == "learned":
            each = each + BOUND_SHARE * own.noise_steps * self.lose_bound(rows, clean, fraction)
        return each, error

    def lose_bound(self, rows: Noised, clean: Tensor, fraction: Tensor) -> Tensor:
        """L_{t−1} of each row, nats a number, for the variance alone: the mean is taken as it is.
        The first step has a decoder, and no variance.  -> [B]
        """
        inner = rows.before.isfinite()
        before = rows.before.where(inner, rows.log_snr + 1)
        nats = step_nats(rows.numbers, clean, fraction.double(), rows.log_snr, before)
        return nats.flatten(1).mean(1).where(inner, 0.0).to(clean)

    @torch.no_grad()
    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        seen: list[Tensor] = []
        label = torch.arange(SHOWN) % len(held_out.shape.names) if self.model.by_label else None
        self.model.sample(SHOWN, generator, label, watch=seen.append)
        at = torch.linspace(0, len(seen) - 1, min(STAGES, len(seen))).round().long().tolist()
        stages = torch.stack([self.model.to_pictures(seen[i], generator) for i in at], 1)
        return [
            Sheet(
                "denoising", "From noise to pictures",
                "what the model takes each for on its way, a row a picture",
                stages.flatten(0, 1), self.model.shape.levels, len(at),
            )
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "average": self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])


def min_snr_weight(log_snr: Tensor, prediction: Prediction, cap: float) -> Tensor:
    """min(SNR, γ) on the error of x (Hang et al. 2023, arXiv:2303.09556, eq. 9), as a weight on the
    error of what is predicted: ε is off by SNR times as much, v by SNR + 1 times.  -> like log_snr
    """
    snr = log_snr.exp()
    capped = snr.clamp(max=cap)
    if prediction == "x":
        return capped
    return capped / snr if prediction == "epsilon" else capped / (snr + 1)
