"""Variational autoencoding (Kingma & Welling 2014, arXiv:1312.6114): raise a bound on log p(x).

It is no sample → score → weigh → fit: the samples of z are inside of the loss, and the gradient
goes through them, z = μ + σ ε.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.models.images.likelihoods import show_levels
from fledge.models.images.vae import VAE as Model
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

SHOWN = 32


@dataclass(frozen=True)
class Noised(Pictures):
    """noise: [B, Z], what z is drawn by; drawn for the whole step before it is cut."""

    noise: Tensor


class VAE:
    class Settings(AlgorithmSettings):
        latents: int = Field(default=16, ge=1, description="numbers of a picture's code")
        width: int = Field(default=256, ge=1, description="of the hidden layers")
        layers: int = Field(default=2, ge=1, description="hidden layers on either side")
        beta: float = Field(default=1.0, ge=0, description="of the KL in the loss; 1: the bound")
        draws: int = Field(
            default=16, ge=1, description="codes for each picture that is judged; more are tighter"
        )

    usual: ClassVar[Mapping[str, Any]] = {"steps": 3000, "rows_per_step": 64}
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.seed, self.stopwatch = settings, model, seed, stopwatch
        self.learner = make_learner(model)

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        own = {"latents", "width", "layers", "draws"}
        return Model(shape, settings.model_dump(include=own))

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        mean, log_deviation = model.encode(rows.x)
        return (mean - model.log_likelihood(rows.x, mean)[:, None] + log_deviation).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a picture, as weighed; distortion and rate: its two
        parts, −E_q[log p(x | z)] and KL.
        """
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        noise = torch.randn(len(batch), self.model.latents, generator=generator)
        count = self.learner.count_rows(batch)

        def loss(rows: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
            mean, log_deviation = self.model.encode(rows.x)
            z = mean + log_deviation.exp() * rows.noise
            distortion = -self.model.log_likelihood(rows.x, z).sum() / count
            rate = kl_to_standard(mean, log_deviation).sum() / count
            return distortion + self.settings.beta * rate, {"distortion": distortion, "rate": rate}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, Noised.of(batch, noise=noise))
        return said | {"rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        levels = self.model.shape.levels
        x = held_out.rows.x[:SHOWN]
        shown = show_levels(levels)
        given = (x.float() * ((shown - 1) / (levels - 1))).round().to(torch.uint8)
        pairs = torch.stack([given, self.model.reconstruct(x)], 1).flatten(0, 1)
        return [
            Sheet(
                "reconstructions", "Reconstructed", "held-out pictures, each beside what its code "
                "gives", pairs, shown, 8,
            )
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def kl_to_standard(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each number (Kingma & Welling 2014, appendix B).  [B, Z] twice ->
    [B, Z]
    """
    return 0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation
