"""Colours foretold from grey (Zhang, Isola & Efros 2016, arXiv:1603.08511): what a thing is says
which colour it has.

sample: data.  score: –.  weigh: rare colours more.  fit: cross-entropy of each pixel's colour, one
    of 121 squares of the plane of blue and red chroma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.algorithms.images.pretext import EncoderSettings, Pretext, sum_of_right
from fledge.algorithms.images.protocol import Sheet
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureSet, PictureShape
from fledge.models.images.encoder import PictureEncoder, join_patches, to_grey

BINS = 11  # a side of the plane of chroma, so that grey is the middle of one
COLOURS = BINS**2
EVEN = 0.5  # λ of eq. 4: how far all colours weigh alike
COOLER = 0.38  # T of eq. 5
SHOWN = 24


@dataclass(frozen=True)
class Coloured(Pictures):
    """colour: [B, H, W], of `COLOURS`. weight: [B, H, W], of mean 1 over the step."""

    colour: Tensor
    weight: Tensor


class Colourisation(Pretext):
    Settings = EncoderSettings

    @classmethod
    def build(cls, settings: EncoderSettings, shape: PictureShape) -> PictureEncoder:
        check_coloured(shape)
        return settings.build(shape, grey=True)

    def make_heads(self) -> nn.Module:
        return nn.Linear(self.model.width, COLOURS * self.model.patch**2)

    def foretell(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] uint8 -> logits of each pixel's colour, [B, COLOURS, H, W]"""
        _, H, W = self.model.shape.size
        said = self.heads(self.model.tokens(self.model.prepare(x))).float()
        return join_patches(said, self.model.patch, (COLOURS, H, W))

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: of a pixel's colour."""
        colour = number_colours(to_chroma(batch.x, self.model.shape.levels))
        rows = Coloured.of(batch, colour=colour, weight=weigh_colours(colour))
        count = self.learner.count(torch.ones(colour.shape, dtype=torch.bool))

        def loss(rows: Coloured) -> tuple[Tensor, Mapping[str, Tensor]]:
            logits = self.foretell(rows.x)
            each = F.cross_entropy(logits, rows.colour, reduction="none") * rows.weight
            return each.sum() / count, {"accuracy": sum_of_right(logits, rows.colour, count)}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        self.heads.cpu()  # where the model is by then
        x, levels = held_out.rows.spread(SHOWN).x, self.model.shape.levels
        grey = to_grey(x.float() / (levels - 1))
        share = (self.foretell(x) / COOLER).softmax(1)
        chroma = torch.einsum("bkhw,kc->bchw", share, middle_of_colours())
        painted = [paint(grey, each) for each in (torch.zeros_like(chroma), chroma)]
        true = (x.float() * (255 / (levels - 1))).round().to(torch.uint8)
        shown = torch.stack([*painted, true], 1).flatten(0, 1)
        note = "held-out pictures: what is read, with the colours foretold, and the true ones"
        return [Sheet("coloured", "Coloured", note, shown, 256, 6)]


def check_coloured(shape: PictureShape) -> None:
    """Raises UserError for pictures without colour."""
    if shape.channels != 3:
        raise UserError(
            f"colours are learned from pictures of red, green and blue, and these have "
            f"{shape.channels} channel{'s' * (shape.channels > 1)}: give others, such as "
            "data=film:digits."
        )


def to_chroma(x: Tensor, levels: int) -> Tensor:
    """Blue and red beyond grey, from −0.5 to 0.5 (ITU-R BT.601).  [B, 3, H, W] uint8 -> [B, 2, H,
    W]
    """
    rgb = x.float() / (levels - 1)
    grey = to_grey(rgb)
    return torch.cat([(rgb[:, 2:3] - grey) / 1.772, (rgb[:, :1] - grey) / 1.402], 1)


def number_colours(chroma: Tensor) -> Tensor:
    """[B, 2, H, W] -> [B, H, W], of `COLOURS`"""
    place = ((chroma + 0.5) * BINS).floor().clamp(0, BINS - 1).long()
    return place[:, 0] * BINS + place[:, 1]


def middle_of_colours() -> Tensor:
    """The chroma that a colour's number stands for.  -> [COLOURS, 2]"""
    middle = (torch.arange(BINS) + 0.5) / BINS - 0.5
    return torch.cartesian_prod(middle, middle)


def weigh_colours(colour: Tensor) -> Tensor:
    """w ∝ ((1 − λ) p + λ/Q)⁻¹, of mean 1 (eq. 4), p the share of a colour among all given.  The
    same shape
    """
    count = torch.bincount(colour.flatten(), minlength=COLOURS).double()
    share = count / count.sum()
    weight = 1 / ((1 - EVEN) * share + EVEN / COLOURS)
    return (weight / (share * weight).sum())[colour].float()


def paint(grey: Tensor, chroma: Tensor) -> Tensor:
    """[B, 1, H, W] from 0 to 1, [B, 2, H, W] -> [B, 3, H, W] uint8"""
    blue, red = chroma.chunk(2, 1)
    rgb = torch.cat([
        grey + 1.402 * red, grey - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587,
        grey + 1.772 * blue,
    ], 1)  # fmt: skip
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
