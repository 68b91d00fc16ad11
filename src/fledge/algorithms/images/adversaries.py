"""Two networks that learn from each other: a learner each, noise that is drawn for a whole step
before it is cut, and the generator's averaged weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fledge.algorithms.images.protocol import MakeLearner
from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.errors import UserError
from fledge.images.pictures import Pictures, centre
from fledge.models.images.generator import Generator
from fledge.models.images.picture_model import PictureModel
from fledge.seeds import generator_for
from fledge.trained_state import share_weights

BETAS = (0.0, 0.99)  # momentum carries a player past where the other has gone (Karras et al. 2018)


@dataclass(frozen=True)
class Round(Pictures):
    """Pictures, and what is drawn beside each. z: [B, Z]. blur, other: [B, C, H, W], noise on the
    real and on the drawn picture. mix: [B], from 0 to 1.
    """

    z: Tensor
    blur: Tensor
    other: Tensor
    mix: Tensor


class Adversaries:
    """generator and critic of the model, with a learner each. model: with the averaged generator,
    for whoever samples. noise: deviation of what is added to real and drawn pictures alike, which
    then overlap (Roth et al. 2017, arXiv:1705.09367).
    """

    def __init__(
        self,
        model: PictureModel,
        generator: Generator,
        critic: nn.Module,
        make_learner: MakeLearner,
        seed: int,
        *,
        average: float,
        noise: float,
    ) -> None:
        self.shape, self.generator, self.critic = model.shape, generator, critic
        self.seed, self.average, self.noise = seed, average, noise
        self.generator_learner, self.critic_learner = make_learner(generator), make_learner(critic)
        for learner in (self.generator_learner, self.critic_learner):
            for group in learner.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = BETAS
        self.averaged = TargetNetwork(generator)
        self.model = share_weights(model)
        self.model.generator = self.averaged.network

    @property
    def step(self) -> int:
        return self.generator_learner.steps + self.generator_learner.skipped

    def deal(self, batch: Pictures, critic_steps: int) -> list[Round]:
        """A part of the batch for each of the critic's steps, with what is drawn for it: a function
        of the run's seed, the step and the part alone.
        """
        if len(batch) < critic_steps:
            raise UserError(
                f"critic_steps={critic_steps} was given, and a step has {len(batch)} pictures: "
                "each of the critic's steps needs some. Raise rows_per_step."
            )
        self.critic_learner.clock.pace(1, critic_steps)
        places = torch.arange(len(batch)).tensor_split(critic_steps)
        return [self._draw(batch[own], f"{self.step} {n}") for n, own in enumerate(places)]

    def _draw(self, rows: Pictures, index: str) -> Round:
        generator = generator_for(self.seed, "noise", index)
        z = torch.randn(len(rows), self.generator.latents, generator=generator)
        blur, other = (
            self.noise * torch.randn(rows.x.shape, generator=generator) for _ in range(2)
        )
        mix = torch.rand(len(rows), generator=generator)
        return Round.of(rows, z=z, blur=blur, other=other, mix=mix)

    def real(self, rows: Round) -> Tensor:
        """[B, C, H, W] of numbers from −1 to 1, and noise"""
        return centre(rows.x, self.shape.levels) + rows.blur

    def draw(self, rows: Round) -> Tensor:
        """As many pictures of the generator's, and noise."""
        return self.generator(rows.z, rows.label) + rows.other

    @contextmanager
    def critic_held(self) -> Iterator[None]:
        """What is computed inside has a gradient for the generator and none for the critic."""
        self.critic.requires_grad_(False)
        try:
            yield
        finally:
            self.critic.requires_grad_(True)

    def follow(self) -> None:
        """The averaged weights move, by more at first, when there is nothing to average."""
        steps = self.generator_learner.steps
        self.averaged.follow(1 - min(self.average, steps / (steps + 10)))

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator_learner, "critic": self.critic_learner,
            "averaged": self.averaged,
        }  # fmt: skip
