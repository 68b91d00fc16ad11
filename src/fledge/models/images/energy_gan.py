"""A generator and an energy of pictures (Zhao, Mathieu & LeCun 2016, arXiv:1609.03126): the error of
an autoencoder, low where there is data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre
from fledge.models.images.gan import draw
from fledge.models.images.generator import Generator
from fledge.models.images.picture_model import PictureModel


class EnergyGAN(PictureModel):
    """settings: latents, width, layers, code (numbers between encoder and decoder)."""

    name = "ebgan"
    measure = "none"  # an energy is no density: nobody knows what it sums to

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width = self.settings["width"]
        self.generator = Generator(
            shape, self.settings["latents"], width, self.settings["layers"], by_label=False
        )
        self.critic = Autoencoder(shape, width, self.settings["code"])

    @torch.no_grad()
    def energy(self, x: Tensor) -> Tensor:
        """Of pictures, lower where they are like the data.  [B, C, H, W] uint8 -> [B]"""
        return self.critic(centre(x, self.shape.levels))[0]

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        return draw(self.generator, self.shape, count, generator, label)


class Autoencoder(nn.Module):
    """x of numbers from −1 to 1 -> the mean squared error of its reconstruction [B], and its code
    [B, S].
    """

    def __init__(self, shape: PictureShape, width: int, code: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(shape.numbers, width), nn.SiLU(), nn.Linear(width, code)
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, width), nn.SiLU(), nn.Linear(width, shape.numbers), nn.Tanh()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        error = (self.decoder(code) - x.flatten(1)).float().square().mean(1)
        return error, code
