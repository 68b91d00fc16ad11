"""Variational autoencoding of sentences (Bowman et al. 2016, arXiv:1511.06349): raise a bound on
log p(x), and keep the writer from doing without the vector.

It is no sample → score → weigh → fit: the samples of z are inside of the loss, and the gradient
goes through them. A writer that foretells each word from those before gains nothing by z, whose
KL then falls to 0: the posterior collapses. Against it: a KL that counts less at first, once or in
cycles (Fu et al. 2019, arXiv:1903.10145); nats of each unit that are free (Kingma et al. 2016,
arXiv:1606.04934, §C.8); words hidden from the writer.
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
from fledge.learner import Learner
from fledge.models.language.text_vae import TextVAE as Model
from fledge.models.normal_codes import kl_to_standard
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.text.sentences import SentenceRows
from fledge.text.tokenizer import Tokenizer
from fledge.trained_state import copy_module


@dataclass(frozen=True)
class Noised(TextNoise):
    """noise: [B, Z], what z is drawn by."""

    noise: Tensor


class TextVAE:
    class Settings(CoderSettings):
        beta: float = Field(
            default=1.0, ge=0, description="of the KL in the loss, in the end; 1: the bound"
        )
        anneal_steps: int = Field(
            default=1000, ge=0, description="optimizer steps over which β rises from 0; 0: none"
        )
        cycles: int = Field(
            default=1, ge=1, description="times that β rises, each followed by as long at its top"
        )
        free_bits: float = Field(
            default=0.5,
            ge=0,
            description="nats of each unit, sentence by sentence, below which its KL costs nothing",
        )
        twin: bool = Field(
            default=False,
            description="train a second one beside it without any remedy against collapse, from "
            "the same weights on the same batches; both are in the report",
        )

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
        self.twin: Model | None = copy_module(model) if settings.twin else None
        self.learner = make_learner(model)
        self.twin_learner = None if self.twin is None else make_learner(self.twin)

    @classmethod
    def build(cls, settings: Settings, tokenizer: Tokenizer) -> Model:
        own = {"latents", "width", "layers", "cell", "longest", "draws"}
        return Model(tokenizer, settings.model_dump(include=own))

    @staticmethod
    def share(model: Model, rows: SentenceRows) -> Tensor:
        mean, log_deviation = model.posterior(rows)
        return (log_deviation.sum(1) - model.coder.log_likelihood(rows, mean)).mean()

    def update(
        self, batch: SentenceRows, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a sentence, as weighed; distortion and rate: −E_q[log
        p(x | z)] and KL, as they are; twin_…: of the one without remedies.
        """
        step = self.learner.steps + self.learner.skipped
        generator = generator_for(self.seed, "noise", step)
        own = self.settings
        noise = torch.randn(len(batch), self.model.latents, generator=generator)
        dropped = draw_dropped(batch, own.word_dropout, generator)
        beta = own.beta * anneal(step, own.anneal_steps, own.cycles)
        rows = Noised.of(batch, noise=noise, dropped=dropped)
        with self.stopwatch.phase("fit"):
            said = take_step(self.learner, self.model, rows, beta, own.free_bits)
            said |= {"beta": beta}
            if self.twin is not None and self.twin_learner is not None:
                plain = rows.replace(dropped=torch.zeros_like(dropped))
                alone = take_step(self.twin_learner, self.twin, plain, own.beta, 0.0)
                said |= {f"twin_{name}": alone[name] for name in ("distortion", "rate")}
        return said | {"rows": float(len(batch)), "tokens": float(batch.count_actions())}

    def list_models(self) -> Mapping[str, Model]:
        return {"": self.model} | ({} if self.twin is None else {"twin_": self.twin})

    def state_dict(self) -> dict[str, Any]:
        state = {"learner": self.learner.state_dict()}
        if self.twin_learner is not None:
            state["twin"] = self.twin_learner.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        if self.twin_learner is not None:
            self.twin_learner.load_state_dict(state["twin"])


def take_step(
    learner: Learner, model: Model, batch: Noised, beta: float, free: float
) -> dict[str, float]:
    """free: nats that each unit of each sentence may have for nothing. Of each sentence, and not of
    the batch's mean as in the paper: a sum that can be cut into micro-batches.
    """
    count = learner.count_rows(batch)

    def loss(rows: Noised) -> tuple[Tensor, Mapping[str, Tensor]]:
        mean, log_deviation = model.posterior(rows)
        z = mean + log_deviation.exp() * rows.noise.to(mean)
        spoken = model.coder.log_likelihood(rows, z, rows.dropped)
        kl = kl_to_standard(mean, log_deviation)  # [b, Z]
        distortion, rate = -spoken.sum() / count, kl.sum() / count
        counted = kl.clamp(min=free).sum() / count
        return distortion + beta * counted, {"distortion": distortion, "rate": rate}

    return learner.step(loss, batch)


def anneal(step: int, rise: int, cycles: int) -> float:
    """Of β, from 0: in each cycle `rise` steps up and as many at the top, and there for ever after
    the last.
    """
    if rise == 0 or step >= 2 * rise * cycles:
        return 1.0
    return min(1.0, step % (2 * rise) / rise)
