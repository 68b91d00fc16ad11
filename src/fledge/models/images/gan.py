"""A generator of pictures and the critic that it learned from (Goodfellow et al. 2014,
arXiv:1406.2661). It has no density: it is judged by its samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.images.pictures import PictureShape, to_levels
from fledge.models.images.generator import Critic, Generator
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.spectral import normalise


class GAN(PictureModel):
    """settings: latents, width, layers, by_label, spectral (whether the critic's weights are
    normalised).
    """

    name = "gan"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, layers = self.settings["width"], self.settings["layers"]
        self.generator = Generator(
            shape, self.settings["latents"], width, layers, self.settings["by_label"]
        )
        self.critic = Critic(shape, width, layers, self.settings["by_label"])
        if self.settings["spectral"]:
            normalise(self.critic)

    @property
    def by_label(self) -> bool:
        return self.settings["by_label"]

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        return draw(self.generator, self.shape, count, generator, label)


def draw(
    network: Generator,
    shape: PictureShape,
    count: int,
    generator: torch.Generator,
    label: Tensor | None,
) -> Tensor:
    """z ∼ N(0, 1), and the nearest level of what it becomes.  -> [count, C, H, W] uint8"""
    device = next(network.parameters()).device
    z = torch.randn(count, network.latents, generator=generator).to(device)
    wanted = torch.zeros(count, dtype=torch.long) if label is None else label
    return to_levels(network(z, wanted.to(device)), shape.levels)
