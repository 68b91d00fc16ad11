"""A diffusion of pictures (Ho, Jain & Abbeel 2020, arXiv:2006.11239): noise is added step by step,
and a network says the clean picture out of a noisy one, so that the way can be gone back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape, centre, to_levels
from fledge.models.images.denoising import Denoising
from fledge.models.images.diffusion_bound import level_nats
from fledge.models.images.noise_levels import certain_from
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.samplers import Sampler


class DiffusionSampling(BaseModel):
    """How pictures are drawn: settings of the training, and fields of `fledge sample`."""

    sampler: Sampler = Field(
        default="dpm++",
        description="ddpm (ancestral), ddim, dpm++ (DPM-Solver++(2M)) or heun (of EDM; asks twice "
        "a step)",
    )
    sampling_steps: int = Field(default=20, ge=1, description="steps from noise to a picture")
    eta: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="noise that ddim and dpm++ add; 0: none, 1: as ddpm",
    )
    guidance: float = Field(
        default=1.0,
        ge=0,
        description="of a model by label: 0 looks at no label, 1 is the model's own, more goes "
        "beyond it",
    )


class Diffusion(PictureModel):
    """settings: those of `Denoising`; by_label; judged_steps (for each picture that is judged)."""

    name = "diffusion"
    measure = "bound"
    sampling: ClassVar[type[BaseModel] | None] = DiffusionSampling

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        labels = len(shape.names) if self.settings["by_label"] else 0
        self.denoising = Denoising(
            shape.size, labels, self.settings, bounded=True, cleanest=certain_from(shape.levels)
        )

    @property
    def by_label(self) -> bool:
        return self.settings["by_label"]

    def to_numbers(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What noise is added to.  [B, C, H, W] uint8 -> the same, from −1 to 1"""
        return centre(x, self.shape.levels)

    def to_pictures(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Back: the nearest levels."""
        return to_levels(numbers, self.shape.levels)

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """The variational bound of p(x), whatever the label."""
        decode = partial(level_nats, rows.x, levels=self.shape.levels)
        x = self.to_numbers(rows.x, generator)
        return self.denoising.bound(x, decode, self.settings["judged_steps"], generator)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        label: Tensor | None = None,
        watch: Callable[[Tensor], None] = lambda guess: None,
    ) -> Tensor:
        """watch: is given every guess x̂ on the way."""
        drawn = self.denoising.draw(count, generator, label, watch)
        return self.to_pictures(drawn, generator)
