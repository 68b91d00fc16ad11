"""Adversarial learning (Goodfellow et al. 2014, arXiv:1406.2661): a critic learns to tell data from
what a generator draws, the generator to draw what it cannot tell.

It is no sample → score → weigh → fit: the gradient goes through the drawn picture, and what is
minimised moves with the critic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.adversarial_losses import (
    LOSSES,
    AdversarialLoss,
    critic_loss,
    generator_loss,
    gradient_penalty,
    slope,
)
from fledge.algorithms.images.adversaries import Adversaries, Round
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.pictures import UNKNOWN, Pictures, PictureSet, PictureShape, centre
from fledge.models.images.gan import GAN as Model
from fledge.models.images.spectral import advance_all
from fledge.stopwatch import Stopwatch


class GAN:
    class Settings(AlgorithmSettings):
        loss: AdversarialLoss = Field(default="nonsaturating", description=", ".join(LOSSES))
        latents: int = Field(default=32, ge=1, description="numbers of noise that a picture is of")
        width: int = Field(default=128, ge=2, description="of hidden layers; channels of larger")
        layers: int = Field(default=2, ge=1, description="hidden layers of either network")
        by_label: bool = Field(default=False, description="draw what a label asks for")
        spectral: bool = Field(
            default=False, description="the critic's weights over their largest singular value"
        )
        penalty: Literal["none", "gradient", "r1"] = Field(
            default="r1",
            description="on the critic's slope: r1 (at real pictures: towards 0), gradient "
            "(WGAN-GP: between real and drawn ones, towards 1)",
        )
        penalty_weight: float = Field(
            default=1.0, ge=0, description="of it; usual: 0.1 to 10 of r1, halved; 10 of gradient"
        )
        critic_steps: int = Field(
            default=1,
            ge=1,
            description="optimizer steps of the critic to one of the generator, each on its own "
            "part of rows_per_step",
        )
        noise: float = Field(
            default=0.05,
            ge=0,
            description="deviation of noise on real and drawn pictures alike, of numbers from -1 "
            "to 1",
        )
        average: float = Field(
            default=0.998, ge=0, lt=1, description="of the generator's averaged weights: kept, a "
            "step; 0 averages none"
        )  # fmt: skip

    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 4000, "rows_per_step": 64, "learning_rate": 1e-3, "clip": 0.0,
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
        self.settings, self.stopwatch = settings, stopwatch
        self.players = Adversaries(
            model, model.generator, model.critic, make_learner, seed, average=settings.average,
            noise=settings.noise,
        )  # fmt: skip

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        if settings.by_label and not shape.names:
            raise UserError("by_label=true was given, and the pictures have no labels.")
        own = {"latents", "width", "layers", "by_label", "spectral"}
        return Model(shape, settings.model_dump(include=own))

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        z = torch.zeros(len(rows), model.generator.latents, device=rows.x.device)
        real = centre(rows.x, model.shape.levels)
        drawn = model.generator(z, rows.label)
        return (model.critic(drawn, rows.label) - model.critic(real, rows.label)).mean()

    @property
    def model(self) -> Any:
        """With the averaged generator."""
        return self.players.model

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """`critic_steps` of the critic and one of the generator. loss: the generator's;
        critic_loss: without its penalty; real_score, drawn_score: what the critic says of either.
        """
        if self.settings.by_label and bool((batch.label == UNKNOWN).any()):
            raise UserError("by_label=true was given, and a picture has no label: label all.")
        players = self.players
        with self.stopwatch.phase("fit"):
            rounds = players.deal(batch, self.settings.critic_steps)
            for rows in rounds:
                if self.settings.spectral:
                    advance_all(players.critic)
                loss = partial(self.weigh_critic, count=players.critic_learner.count_rows(rows))
                critic = players.critic_learner.step(loss, rows)
            last = rounds[-1]
            with players.critic_held():
                loss = partial(
                    self.weigh_generator, count=players.generator_learner.count_rows(last)
                )
                said = players.generator_learner.step(loss, last)
            players.follow()
        named = ("critic_loss", "penalty", "real_score", "drawn_score")
        said |= {name: critic[name] for name in named}
        return said | {"critic_grad_norm": critic["grad_norm"], "rows": float(len(batch))}

    def weigh_critic(self, rows: Round, count: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Its share of a step of so many rows."""
        own, players = self.settings, self.players
        real = players.real(rows)
        with torch.no_grad():
            drawn = players.draw(rows)
        critic = partial(players.critic, label=rows.label)
        said, of_drawn = critic(real), critic(drawn)
        loss = critic_loss(own.loss, said, of_drawn).sum() / count
        penalty = torch.zeros_like(loss)
        if own.penalty == "gradient":
            penalty = gradient_penalty(critic, real, drawn, rows.mix).sum() / count
        elif own.penalty == "r1":  # γ/2 E‖∇T‖² (Mescheder et al. 2018, arXiv:1801.04406, eq. 9)
            penalty = 0.5 * slope(critic, real).sum() / count
        figures = {
            "critic_loss": loss, "penalty": penalty, "real_score": said.sum() / count,
            "drawn_score": of_drawn.sum() / count,
        }  # fmt: skip
        return loss + own.penalty_weight * penalty, figures

    def weigh_generator(self, rows: Round, count: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        score = self.players.critic(self.players.draw(rows), rows.label)
        return generator_loss(self.settings.loss, score).sum() / count, {}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return self.players.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.players.load_state_dict(state)
