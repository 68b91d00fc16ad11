"""Latent diffusion (Rombach et al. 2022, arXiv:2112.10752; Vahdat, Kreis & Kautz 2021,
arXiv:2106.05931): a diffusion of the codes of an autoencoder that was trained before, which turns
what is drawn into pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor

from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.coders import coder_of
from fledge.models.images.denoising import Denoising
from fledge.models.images.diffusion import DiffusionSampling
from fledge.models.images.diffusion_bound import number_nats
from fledge.models.images.picture_model import PictureModel, find_kinds


class LatentDiffusion(PictureModel):
    """settings: those of `Diffusion`, and `autoencoder`: the card of its model. Codes are diffused
    with mean 0 and variance 1: `shift` and `scale` say what they were.
    """

    name = "latent_diffusion"
    sampling: ClassVar[type[BaseModel] | None] = DiffusionSampling
    shift: Tensor
    scale: Tensor

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        card = self.settings["autoencoder"]
        self.autoencoder = find_kinds()[card["model"]].restore(card).requires_grad_(False)
        self.measure = "bound" if coder_of(self.autoencoder).has_density else "none"
        size = coder_of(self.autoencoder).size
        if self.settings["network"] == "unet" and size[1] * size[2] == 1:
            raise UserError(
                f"network=unet was given, and a code is {size[0]} numbers without a place: give "
                "network=layers."
            )
        labels = len(shape.names) if self.settings["by_label"] else 0
        self.denoising = Denoising(size, labels, self.settings)
        self.register_buffer("shift", torch.zeros(size[0], 1, 1))
        self.register_buffer("scale", torch.ones(size[0], 1, 1))

    @property
    def by_label(self) -> bool:
        return self.settings["by_label"]

    @torch.no_grad()
    def measure_codes(self, x: Tensor, generator: torch.Generator) -> None:
        """Take `shift` and `scale` from pictures (Rombach et al., §G, of their first batch)."""
        code = coder_of(self.autoencoder).encode(x, generator)
        across = (0, 2, 3)
        self.shift.copy_(code.mean(across)[:, None, None])
        self.scale.copy_(code.std(across).clamp(min=1e-3)[:, None, None])

    @torch.no_grad()
    def to_numbers(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The codes, standardised."""
        return (coder_of(self.autoencoder).encode(x, generator) - self.shift) / self.scale

    def to_pictures(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        code = numbers * self.scale + self.shift
        return coder_of(self.autoencoder).decode(code, generator)

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """E_q[log q(z | x) − log p(x | z)] and the bound of −log p(z), one draw of z each; whatever
        the label.
        """
        code, nats = coder_of(self.autoencoder).code_nats(rows, generator)
        z = (code - self.shift) / self.scale

        def decode(z_1: Tensor, log_snr: Tensor) -> Tensor:
            return number_nats(z, z_1, log_snr)

        _, H, W = self.denoising.size
        widened = H * W * self.scale.double().log().sum()  # of the code's own units
        bound = self.denoising.bound(z, decode, self.settings["judged_steps"], generator)
        return nats + bound + widened

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        label: Tensor | None = None,
        watch: Callable[[Tensor], None] = lambda guess: None,
    ) -> Tensor:
        """watch: is given every guess x̂ on the way, a code."""
        return self.to_pictures(self.denoising.draw(count, generator, label, watch), generator)
