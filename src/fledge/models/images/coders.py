"""Models of pictures that make a code of numbers and go back, for whoever makes codes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.pictures import Pictures
from fledge.models.images.likelihoods import draw_levels, middle_levels
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.vae import VAE
from fledge.models.images.vq import VQ


class Coder(Protocol):
    """size: (C, H, W) of a code. has_density: whether `code_nats` can be asked."""

    size: tuple[int, int, int]
    has_density: bool

    def encode(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """[B, C, H, W] uint8 -> [B, *size]"""
        ...

    def decode(self, code: Tensor, generator: torch.Generator) -> Tensor:
        """The inverse, drawn or the nearest.  -> uint8"""
        ...

    def code_nats(self, rows: Pictures, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A code z drawn for each picture, and log q(z | x) − log p(x | z): with −log p(z) of any
        prior added it is a bound of −log p(x), in expectation.  -> [B, *size], [B]
        """
        ...


class CodesOfVAE:
    """A code is a draw of q(z | x)."""

    has_density = True

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self.size: tuple[int, int, int] = (vae.latents, 1, 1)

    def encode(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_deviation = self.vae.encode(x)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return (mean + log_deviation.exp() * noise)[:, :, None, None]

    def decode(self, code: Tensor, generator: torch.Generator) -> Tensor:
        levels, given = self.vae.shape.levels, self.vae.decode(code.flatten(1))
        # Of two levels a draw: the middle would be of greys, which the pictures have none of.
        return (
            draw_levels(given, levels, generator) if levels == 2 else middle_levels(given, levels)
        )

    def code_nats(self, rows: Pictures, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mean, log_deviation = self.vae.encode(rows.x)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        code = mean + log_deviation.exp() * noise
        known = -0.5 * (noise**2 + torch.log(torch.tensor(2 * torch.pi))) - log_deviation
        nats = known.sum(1) - self.vae.log_likelihood(rows.x, code)
        return code[:, :, None, None], nats


class CodesOfVQ:
    """A code is what the encoder says before it is quantised, which the decoder does then (Rombach
    et al. 2022, §3.1, "the quantisation layer is absorbed by the decoder").
    """

    has_density = False

    def __init__(self, vq: VQ) -> None:
        self.vq = vq
        self.size: tuple[int, int, int] = (vq.quantiser.width, *vq.grid)

    def encode(self, x: Tensor, generator: torch.Generator) -> Tensor:
        D, h, w = self.size
        return self.vq.features(x).view(len(x), h, w, D).permute(0, 3, 1, 2)

    def decode(self, code: Tensor, generator: torch.Generator) -> Tensor:
        features = code.permute(0, 2, 3, 1).flatten(0, 2)
        return self.vq.settle(self.vq.quantiser.quantise(features)[0].view(len(code), -1))

    def code_nats(self, rows: Pictures, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("a code that is certain has no density")


def coder_of(model: PictureModel) -> Coder:
    """Raises UserError for a model without codes."""
    if isinstance(model, VAE):
        return CodesOfVAE(model)
    if isinstance(model, VQ):
        return CodesOfVQ(model)
    raise UserError(
        f"base is a model={model.name}, which makes no codes: give a run of `fledge imagine` with "
        "model=vae or model=vq."
    )
