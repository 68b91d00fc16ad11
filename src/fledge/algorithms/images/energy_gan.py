"""An adversarial game of energies (Zhao, Mathieu & LeCun 2016, arXiv:1609.03126): an autoencoder
learns to rebuild data and not what a generator draws, the generator to draw what it rebuilds.

It is no sample → score → weigh → fit, as a GAN is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.adversaries import Adversaries, Round
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.images.pictures import Pictures, PictureSet, PictureShape, centre
from fledge.models.images.energy_gan import EnergyGAN as Model
from fledge.stopwatch import Stopwatch

RANKED = 32  # pictures on the sheet of energies


class EnergyGAN:
    class Settings(AlgorithmSettings):
        latents: int = Field(default=32, ge=1, description="numbers of noise that a picture is of")
        width: int = Field(default=128, ge=2, description="of the hidden layers")
        layers: int = Field(default=2, ge=1, description="hidden layers of the generator")
        code: int = Field(default=16, ge=1, description="numbers of the autoencoder's code")
        margin: float = Field(
            default=0.2,
            gt=0,
            description="energy up to which drawn pictures are pushed: a mean squared error of "
            "numbers from -1 to 1",
        )
        repel: float = Field(
            default=0.1, ge=0, description="of the codes of drawn pictures being alike, in the "
            "generator's loss"
        )  # fmt: skip
        noise: float = Field(
            default=0.0, ge=0, description="deviation of noise on real and drawn pictures alike"
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
        return Model(shape, settings.model_dump(include={"latents", "width", "layers", "code"}))

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        z = torch.zeros(len(rows), model.generator.latents, device=rows.x.device)
        real = centre(rows.x, model.shape.levels)
        return (model.critic(real)[0] + model.critic(model.generator(z, rows.label))[0]).mean()

    @property
    def model(self) -> Any:
        """With the averaged generator."""
        return self.players.model

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """A step of the autoencoder, one of the generator. loss: the generator's; real_energy,
        drawn_energy: the autoencoder's error on either.
        """
        players = self.players
        with self.stopwatch.phase("fit"):
            (rows,) = players.deal(batch, 1)
            critic = players.critic_learner.step(
                partial(self.weigh_critic, count=players.critic_learner.count_rows(rows)), rows
            )
            with players.critic_held():
                said = players.generator_learner.step(
                    partial(
                        self.weigh_generator, count=players.generator_learner.count_rows(rows),
                        all_codes=self.encode_drawn(rows),
                    ),
                    rows,
                )  # fmt: skip
            players.follow()
        said |= {name: critic[name] for name in ("real_energy", "drawn_energy")}
        return said | {"critic_loss": critic["loss"], "rows": float(len(batch))}

    def weigh_critic(self, rows: Round, count: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        players = self.players
        real, _ = players.critic(players.real(rows))
        with torch.no_grad():
            made = players.draw(rows)
        drawn, _ = players.critic(made)
        loss = energy_loss(real, drawn, self.settings.margin).sum() / count
        return loss, {"real_energy": real.sum() / count, "drawn_energy": drawn.sum() / count}

    def weigh_generator(
        self, rows: Round, count: Tensor, all_codes: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        energy, code = self.players.critic(self.players.draw(rows))
        alike = repelling_share(code, all_codes.to(code.device))
        loss = energy.sum() / count + self.settings.repel * alike
        return loss, {"repelling": alike}

    @torch.no_grad()
    def encode_drawn(self, rows: Round) -> Tensor:
        """The codes of the whole step's drawn pictures, as they are before it.  -> [B, S]"""
        learner, players = self.players.generator_learner, self.players
        pieces = (some.to(learner.device) for some in learner.cut(rows))
        return learner.join([players.critic(players.draw(some))[1] for some in pieces], rows)

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        """Held-out pictures from the lowest energy to the highest."""
        x = held_out.rows.x
        order = self.model.energy(x).argsort()
        shown = order[torch.linspace(0, len(x) - 1, min(RANKED, len(x))).long()]
        return [
            Sheet(
                "energies", "Energies", "held-out pictures, from the lowest energy to the highest",
                x[shown], held_out.shape.levels, 8,
            )
        ]  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return self.players.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.players.load_state_dict(state)


def energy_loss(real: Tensor, drawn: Tensor, margin: float) -> Tensor:
    """D(x) + [m − D(G(z))]⁺ (eq. 1): at its best m (1 − TV(p, q)), which is m for q = p alone.  [B],
    [B] -> [B]
    """
    return real + F.relu(margin - drawn)


def repelling_share(code: Tensor, all_codes: Tensor) -> Tensor:
    """Of some rows their part of the mean squared cosine between the codes of different pictures of
    the step (eq. 5), whose gradient is that of the whole, in any pieces.  [b, S], [B, S] -> []

    A pair counts for both of its pictures, and either is differentiated with the other held: twice
    the half, which is the gradient of the whole.
    """
    B = len(all_codes)
    if B < 2:
        return 0.0 * code.sum()
    cosine = F.normalize(code, dim=1) @ F.normalize(all_codes, dim=1).T
    own = F.normalize(code, dim=1).square().sum(1)  # 1, of each with itself
    value = (cosine.square().sum() - (own.square()).sum()) / (B * (B - 1))
    # The held side has no gradient: the other half of it is put to this side.
    return 2 * value - value.detach()
