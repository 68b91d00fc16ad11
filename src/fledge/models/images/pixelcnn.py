"""The gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328): convolutions that see the rows
above and, in the row itself, what stands to the left; two stacks, so that nothing above is out of
sight.

No weight is masked: what a mask would make zero is not there. Mask A, of the first layer, is a
picture moved by one row (vertical stack) or one number (horizontal stack); mask B, of the others, a
kernel that ends where it looks from. Of a picture in colours the channels of a pixel stand beside
each other in its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Advance, Autoregressive


class PixelCNN(Autoregressive):
    """settings: width (channels of each stack), layers, reach (pixels to each side), by_label."""

    name = "pixelcnn"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, layers = self.settings["width"], self.settings["layers"]
        if self.by_label and not shape.names:
            raise UserError(
                "by_label=true was given, and the pictures have no labels: leave it out."
            )
        self.height, self.across = shape.height, shape.width * shape.channels
        reach = self.settings["reach"]
        self.embedding = nn.Embedding(self.values, width)
        self.place = nn.Parameter(0.02 * torch.randn(width, self.height, self.across))
        self.labels = nn.Embedding(len(shape.names), width) if self.by_label else None
        self.layers = nn.ModuleList(
            TwoStacks(width, reach, reach * shape.channels) for _ in range(layers)
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, self.values, 1)
        )

    @property
    def by_label(self) -> bool:
        return self.settings["by_label"]

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        B = len(x)
        given = self.embedding(x).view(B, self.height, self.across, -1).permute(0, 3, 1, 2)
        vertical = F.pad(given, (0, 0, 1, 0))[:, :, :-1] + self.place
        horizontal = F.pad(given, (1, 0))[..., :-1] + self.place
        if self.labels is not None:
            asked = self.labels(label)[:, :, None, None]
            vertical, horizontal = vertical + asked, horizontal + asked
        skipped: Any = 0.0
        for layer in self.layers:
            vertical, horizontal, skip = layer(vertical, horizontal)
            skipped = skipped + skip
        return self.head(skipped).flatten(2).mT

    def begin(self, count: int, label: Tensor | None) -> Advance:
        """The vertical stack is computed a row at a time, when the row above is whole; of the
        horizontal one each layer keeps its row.
        """
        drawing = PixelDrawing(self, count, label)
        return drawing.advance


class TwoStacks(nn.Module):
    """One layer (van den Oord et al. 2016, fig. 2): the vertical stack feeds the horizontal one,
    which has a residual connection, and one to the head.
    """

    def __init__(self, width: int, reach: int, reach_across: int) -> None:
        super().__init__()
        self.reach, self.reach_across = reach, reach_across
        self.down = nn.Conv2d(width, 2 * width, (reach + 1, 2 * reach_across + 1))
        self.right = nn.Conv2d(width, 2 * width, (1, reach_across + 1))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, 2 * width, 1)  # residual and skip

    def forward(self, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, C, H, W] twice -> the same for the next layer, and what is skipped to the head"""
        above = self.down(F.pad(vertical, (self.reach_across, self.reach_across, self.reach, 0)))
        beside = self.right(F.pad(horizontal, (self.reach_across, 0)))
        residual, skip = self.out(gate(beside + self.link(above))).chunk(2, 1)
        return gate(above), horizontal + residual, skip


def gate(x: Tensor) -> Tensor:
    """tanh of one half of the channels, let through by the other (eq. 2)."""
    value, opened = x.chunk(2, 1)
    return value.tanh() * opened.sigmoid()


class PixelDrawing:
    """A drawing on its way: of every layer the last rows of its vertical stack, and of the present
    row what its vertical stack says and what its horizontal one was given.
    """

    def __init__(self, model: PixelCNN, count: int, label: Tensor | None) -> None:
        self.model, self.count = model, count
        width = model.settings["width"]
        self.layers: list[Any] = list(model.layers)
        new = model.place.new_zeros
        self.asked = new(count, width) if model.labels is None else model.labels(label)
        self.row = new(count, width, model.across)  # what was said of the present one, embedded
        self.rows = [
            new(count, width, each.reach + 1, model.across + 2 * each.reach_across)
            for each in self.layers
        ]  # padded on either side
        self.links: list[Tensor] = []
        self.beside = [
            new(count, width, model.across + each.reach_across) for each in self.layers
        ]  # padded to the left

    def begin_row(self, i: int) -> None:
        """The vertical stack at row i, of the row above it."""
        model = self.model
        x = self.row + model.place[:, i] + self.asked[:, :, None]
        self.row = torch.zeros_like(self.row)
        self.links = []
        for place, layer in enumerate(self.layers):
            wide = F.pad(x, (layer.reach_across, layer.reach_across))[:, :, None]
            self.rows[place] = torch.cat([self.rows[place][:, :, 1:], wide], 2)
            above = layer.down(self.rows[place])
            self.links.append(layer.link(above)[:, :, 0])
            x = gate(above)[:, :, 0]

    def advance(self, t: int, before: Tensor | None) -> Tensor:
        model = self.model
        i, j = divmod(t, model.across)
        x = model.place[:, i, j] + self.asked
        if before is not None:
            said = model.embedding(before)
            self.row[:, :, (j - 1) % model.across] = said
            if j:
                x = x + said
        if j == 0:
            self.begin_row(i)
        skipped: Any = 0.0
        for place, layer in enumerate(self.layers):
            wide = layer.reach_across
            kept = self.beside[place]
            kept[:, :, wide + j] = x
            # What the row before had left of here is overwritten, and left of the row are zeros.
            window = kept[:, :, j : j + wide + 1].flatten(1)
            beside = F.linear(window, layer.right.weight.flatten(1), layer.right.bias)
            gated = gate(beside + self.links[place][:, :, j])
            out = F.linear(gated, layer.out.weight.flatten(1), layer.out.bias)
            residual, skip = out.chunk(2, 1)
            x, skipped = x + residual, skipped + skip
        return model.head(skipped[:, :, None, None])[:, :, 0, 0]
