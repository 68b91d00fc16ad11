"""Variational autoencoding (Kingma & Welling 2014, arXiv:1312.6114): raise a bound on log p(x).

It is no sample → score → weigh → fit: the samples of z are inside of the loss, and the gradient
goes through them, z = μ + σ ε.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from fledge.algorithms.images.codes_seen import draw_code_sheets, measure_units
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.models.images.vae import VAE as Model
from fledge.models.normal_codes import kl_to_standard
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

READ = 256  # pictures at a time, where nothing is differentiated


@dataclass(frozen=True)
class Noised(Pictures):
    """noise: [B, K, Z], what z is drawn by; drawn for the whole step before it is cut."""

    noise: Tensor


class VAE:
    class Settings(AlgorithmSettings):
        latents: int = Field(default=16, ge=1, description="numbers of a picture's code")
        network: Literal["mlp", "conv"] = Field(
            default="mlp",
            description="hidden layers over all pixels, or convolutions that halve the sides",
        )
        width: int = Field(
            default=256, ge=1,
            description="of the hidden layers; a convolution has an eighth as many channels",
        )  # fmt: skip
        layers: int = Field(
            default=2, ge=1, description="hidden layers, or residual blocks, on either side"
        )
        beta: float = Field(default=1.0, ge=0, description="of the KL in the loss; 1: the bound")
        anneal_steps: int = Field(
            default=0, ge=0, description="optimizer steps over which beta rises from 0"
        )
        free_bits: float = Field(
            default=0.0, ge=0,
            description="nats of each latent, as a mean over the step, that cost nothing",
        )  # fmt: skip
        importance: int = Field(
            default=1, ge=1, description="codes of a picture in the loss; more: a tighter bound"
        )
        draws: int = Field(
            default=16, ge=1, description="codes for each picture that is judged; more are tighter"
        )

        @model_validator(mode="after")
        def _bound_is_itself(self) -> Self:
            if self.importance > 1 and (self.beta != 1 or self.free_bits or self.anneal_steps):
                raise ValueError(
                    "importance above 1 raises a bound that has no KL apart to be weighed: leave "
                    "out beta, free_bits and anneal_steps"
                )
            return self

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
        own = {"latents", "network", "width", "layers", "draws"}
        return Model(shape, settings.model_dump(include=own))

    @classmethod
    def build_for(cls, settings: Settings, given: PictureSet) -> Model:
        model = cls.build(settings, given.shape)
        model.begin_at_counts(given.rows.x)
        return model

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        noise = torch.zeros(len(rows), 1, model.latents, device=rows.x.device)
        log_p, _, kl = model(rows.x, noise)
        return kl.mean() - log_p.mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a picture, as weighed; distortion and rate: its two
        parts, −E_q[log p(x | z)] and KL.
        """
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        K = self.settings.importance
        noise = torch.randn(len(batch), K, self.model.latents, generator=generator)
        count = self.learner.count_rows(batch)
        beta = self.settings.beta * rise(step, self.settings.anneal_steps)
        paying = self.find_paying(batch)

        def loss(rows: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
            log_p, log_ratio, each = self.model(rows.x, rows.noise)
            kl = each.sum(0) / count  # [Z]
            distortion, rate = -log_p.mean(1).sum() / count, kl.sum()
            figures = {"distortion": distortion, "rate": rate}
            if K > 1:
                bound = (log_p + log_ratio).logsumexp(1) - math.log(K)
                return -bound.sum() / count, figures
            # max(λ, KL) has the gradient of KL above λ, and none below.
            share = rate if paying is None else (kl * paying).sum()
            return distortion + beta * share, figures

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, Noised.of(batch, noise=noise))
        return said | {"rows": float(len(batch)), "beta": beta}

    @torch.no_grad()
    def find_paying(self, batch: Pictures) -> Tensor | None:
        """Which latents have more than the free bits, as a mean over the whole step (Kingma et al.
        2016, arXiv:1606.04934, eq. 15); None where none are free.  -> [Z], 0 or 1
        """
        if not self.settings.free_bits:
            return None

        # Every rank reads the whole step: no row's share depends on who else is in its piece.
        kl = torch.zeros(self.model.latents, dtype=torch.float64, device=self.learner.device)
        for start in range(0, len(batch), READ):
            rows = batch[slice(start, start + READ)].to(self.learner.device)
            with self.learner.autocast():
                kl += kl_to_standard(*self.model.encode(rows.x)).double().sum(0)
        return (kl / len(batch) > self.settings.free_bits).float()

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return draw_code_sheets(self.model, held_out)

    def summarise(self, held_out: PictureSet) -> dict[str, Any]:
        """kl_per_unit: nats of each latent. active_units: those that tell pictures apart."""
        units = measure_units(self.model, held_out)
        return {"kl_per_unit": units.kl, "active_units": len(units.active)}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def rise(step: int, over: int) -> float:
    """From 0 to 1 in so many steps, and 1 from then on (Bowman et al. 2016, arXiv:1511.06349)."""
    return 1.0 if step >= over else step / over
