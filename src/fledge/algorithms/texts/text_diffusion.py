"""A text autoencoder and a diffusion of its vectors, trained together (EDDPM: Liu et al. 2024,
arXiv:2402.19009): say the sentence again out of its vector, and find the noise in the vector.

It is no sample → score → weigh → fit: noise is drawn inside of the loss. With prior_weight=1 the
loss is a bound on −log p(x). Below 1 the reader feels that much of the diffusion's gradient, so
that vectors stay far enough apart to be read back, while the diffusion itself learns all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.texts.protocol import (
    CoderSettings,
    MakeLearner,
    TextNoise,
    draw_dropped,
)
from fledge.models.language.text_diffusion import TextDiffusion as Model
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.text.sentences import SentenceRows
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Noised(TextNoise):
    """first: [B, Z], the noise that the writer's vector has. noise: [B, Z], at a time t [B]."""

    first: Tensor
    noise: Tensor
    t: Tensor


class TextDiffusion:
    class Settings(CoderSettings):
        prior_weight: float = Field(
            default=0.1,
            ge=0,
            le=1,
            description="of the diffusion's gradient, as the reader feels it; 1: the bound; 0: the "
            "reader learns to be read back alone",
        )
        least_noise: float = Field(
            default=0.2,
            gt=0,
            lt=0.9,
            description="deviation of the noise with which the writer reads a vector whose mean "
            "square is 1",
        )
        denoiser_width: int = Field(default=256, ge=1, description="of the diffusion's network")
        denoiser_layers: int = Field(default=3, ge=1, description="of the diffusion's network")
        sampling_steps: int = Field(default=50, ge=1, description="of DDIM, for a sample")

    reads: ClassVar[Literal["texts"]] = "texts"
    usual: ClassVar[Mapping[str, Any]] = {
        "data": "grammar", "steps": 3000, "rows_per_step": 64, "samples": 16,
    }  # fmt: skip
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
    def build(cls, settings: Settings, tokenizer: Tokenizer) -> Model:
        others = {"tokenizer", "vocab_size", "word_dropout", "prior_weight"}
        return Model(tokenizer, settings.model_dump(exclude=others))

    @staticmethod
    def share(model: Model, rows: SentenceRows) -> Tensor:
        x = model.encode(rows)
        t = torch.full((len(x),), 0.5, device=x.device)
        return (model.prior.nats(x, x, t) - model.coder.log_likelihood(rows, x)).mean()

    def update(
        self, batch: SentenceRows, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a sentence; distortion and rate: its two parts, −log
        p(x | z₀) and the diffusion's bound on KL(q(z₀ | x) ‖ p(z₀)).
        """
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        B, Z, weight = len(batch), self.model.latents, self.settings.prior_weight
        first, noise = (torch.randn(B, Z, generator=generator) for _ in range(2))
        # Spread evenly over the step's rows: less noise than B draws (Kingma et al. 2021, §I.1).
        t = (torch.rand(1, generator=generator) + torch.arange(B) / B) % 1
        dropped = draw_dropped(batch, self.settings.word_dropout, generator)
        count = self.learner.count_rows(batch)
        model = self.model

        def loss(rows: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
            x = model.encode(rows)
            z = model.cover(x, rows.first.to(x))
            spoken = model.coder.log_likelihood(rows, z, rows.dropped)
            felt = weight * x + (1 - weight) * x.detach()
            prior = model.prior.nats(felt, rows.noise.to(x), rows.t.to(x))
            distortion, rate = -spoken.sum() / count, prior.sum() / count
            return distortion + rate, {"distortion": distortion, "rate": rate}

        rows = Noised.of(batch, first=first, noise=noise, t=t, dropped=dropped)
        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(B), "tokens": float(batch.count_actions())}

    def list_models(self) -> Mapping[str, Model]:
        return {"": self.model}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
