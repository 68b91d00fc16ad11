"""A discrete autoencoder: a picture as a small grid of whole numbers, its codes, and a prior over
them (van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937).

−log p(x) ≤ −log p(c) − log p(x | c) with c the codes of x: the codes of a picture are certain, so
that the bound is the rate of its codes under the prior and the distortion, and no entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape, centre
from fledge.models.images.code_prior import CodePrior
from fledge.models.images.convolutions import count_halvings, stack_down, stack_up
from fledge.models.images.likelihoods import (
    count_outputs,
    draw_levels,
    log_prob_of_levels,
    middle_levels,
)
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.quantise import NearestCode, RoundedNumbers


class VQ(PictureModel):
    """settings: quantiser (nearest or rounded), codes, code_width, levels (of rounded numbers),
    halvings, channels, blocks, prior_layers, prior_width, prior_heads.
    """

    name = "vq"
    measure = "bound"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        s = self.settings
        halvings = count_halvings(shape, s["halvings"])
        self.grid = (shape.height >> halvings, shape.width >> halvings)
        self.quantiser: NearestCode | RoundedNumbers = (
            NearestCode(s["codes"], s["code_width"])
            if s["quantiser"] == "nearest"
            else RoundedNumbers(s["levels"])
        )
        channels, width = s["channels"], self.quantiser.width
        self.encoder = stack_down(shape.channels, channels, halvings, s["blocks"])
        self.to_feature = torch.nn.Conv2d(channels, width, 1)
        self.from_feature = torch.nn.Conv2d(width, channels, 1)
        outputs = count_outputs(shape.levels) * shape.channels
        self.decoder = stack_up(channels, outputs, halvings, s["blocks"])
        self.prior = CodePrior(
            self.quantiser.size, self.places, len(shape.names), s["prior_layers"],
            s["prior_width"], s["prior_heads"],
        )  # fmt: skip

    @property
    def places(self) -> int:
        """Codes of a picture."""
        return self.grid[0] * self.grid[1]

    def features(self, x: Tensor) -> Tensor:
        """Before they are quantised, a place of the grid a row.  [B, C, H, W] -> [B · places, D]"""
        z = self.to_feature(self.encoder(centre(x, self.shape.levels)))
        return z.permute(0, 2, 3, 1).flatten(0, 2)

    def encode(self, x: Tensor) -> Tensor:
        """-> codes [B, places]"""
        return self.quantiser.quantise(self.features(x))[0].view(len(x), self.places)

    def build(self, feature: Tensor) -> Tensor:
        """What p(x | c) is made of.  [B · places, D] -> [B, K·C, H, W]"""
        h, w = self.grid
        grid = feature.view(-1, h, w, self.quantiser.width).permute(0, 3, 1, 2)
        return self.decoder(self.from_feature(grid))

    def decode(self, codes: Tensor) -> Tensor:
        """The same of codes, [B, places]."""
        return self.build(self.quantiser.look_up(codes.flatten()))

    def log_likelihood(self, x: Tensor, given: Tensor) -> Tensor:
        """log p(x | c).  -> [B]"""
        return log_prob_of_levels(x, given, self.shape.levels).flatten(1).sum(1)

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """Rate and distortion: −log p(c) − log p(x | c)."""
        codes = self.encode(rows.x)
        return -self.prior.log_prob(codes) - self.log_likelihood(rows.x, self.decode(codes))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Through the codes; of `show_levels` levels."""
        return middle_levels(self.decode(self.encode(x)), self.shape.levels)

    def settle(self, codes: Tensor) -> Tensor:
        """The picture in the middle of p(x | c), of the model's own levels.  -> uint8"""
        given = self.decode(codes)
        if self.shape.levels == 2:
            return (given > 0).to(torch.uint8)
        return middle_levels(given, self.shape.levels)

    @property
    def by_label(self) -> bool:
        return bool(self.shape.names)

    def draw_from(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures of codes.  [B, places] -> [B, C, H, W] uint8"""
        return draw_levels(self.decode(codes), self.shape.levels, generator)

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        if label is None:
            label = self.prior.draw_labels(count, generator)
        return self.draw_from(self.prior.draw(label, generator), generator)
