"""Colours copied from earlier frames (Vondrick et al. 2018, arXiv:1806.09594): who knows from which
place a colour comes has followed the thing.

sample: data.  score: –.  weigh: rare colours more.  fit: −log of the attention that falls on places
    of the same colour, of a grey frame's tokens over those of the frames before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.colourisation import (
    check_coloured,
    number_colours,
    paint,
    to_chroma,
    weigh_colours,
)
from fledge.algorithms.images.frame_order import check_length
from fledge.algorithms.images.pretext import EncoderSettings, Pretext, noise_for
from fledge.algorithms.images.protocol import Sheet
from fledge.images.films import Films, FilmSet
from fledge.images.pictures import PictureShape
from fledge.models.images.encoder import PictureEncoder, cut_patches, join_patches, to_grey
from fledge.trajectories import Rows

SHOWN = 4


@dataclass(frozen=True)
class Followed(Rows):
    """x: [B, K+1, C, H, W] uint8, the last one asked about. colour: [B, K+1, N], of each patch.
    weight: [B, N], 0 where no frame before has the colour.
    """

    x: Tensor
    colour: Tensor
    weight: Tensor


class ColourTracking(Pretext):
    reads = "films"

    class Settings(EncoderSettings):
        references: int = Field(default=2, ge=1, description="frames that colours are copied from")

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> PictureEncoder:
        check_coloured(shape)
        return settings.build(shape, grey=True)

    def make_heads(self) -> nn.Module:
        return nn.Linear(self.model.width, self.model.width)

    def look(self, x: Tensor) -> Tensor:
        """What each patch is known by.  [B, C, H, W] uint8 -> [B, N, W]"""
        return self.heads(self.model.tokens(self.model.prepare(x))).float()

    def update(
        self, batch: Films, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: the attention that is on the right colour, as weighed."""
        rows = self.follow(batch, noise_for(self.seed, self.learner))
        count = self.learner.count(rows.weight > 0)

        def loss(rows: Followed) -> tuple[Tensor, Mapping[str, Tensor]]:
            B, frames = rows.x.shape[:2]
            known = self.look(rows.x.flatten(0, 1)).view(B, frames, -1, self.model.width)
            share = attend(known[:, -1], known[:, :-1].flatten(1, 2))
            same = rows.colour[:, -1, :, None] == rows.colour[:, :-1].flatten(1)[:, None]
            right = (share * same).sum(2)
            each = -right.clamp(min=1e-9).log() * rows.weight
            return each.sum() / count, {"accuracy": (right * rows.weight).sum() / count}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}

    def follow(self, batch: Films, generator: torch.Generator) -> Followed:
        """Neighbouring frames, from anywhere in a film."""
        frames = self.settings.references + 1
        check_length(batch, frames)
        B, T = batch.frames.shape[:2]
        start = torch.randint(0, T - frames + 1, (B, 1), generator=generator)
        x = batch.frames[torch.arange(B)[:, None], start + torch.arange(frames)]
        chroma = to_chroma(x.flatten(0, 1), self.model.shape.levels)
        mean = torch.nn.functional.avg_pool2d(chroma, self.model.patch)
        colour = number_colours(mean).view(B, frames, -1)
        asked = colour[:, -1]
        seen = (asked[:, :, None] == colour[:, :-1].flatten(1)[:, None]).any(2)
        return Followed(x, colour, weigh_colours(asked) * seen)

    def draw_sheets(self, held_out: FilmSet, generator: torch.Generator) -> Sequence[Sheet]:
        """The first frame's colours, copied from frame to frame."""
        self.heads.cpu()  # where the model is by then
        levels, patch = self.model.shape.levels, self.model.patch
        frames = held_out.rows.spread(SHOWN).frames
        B, T, _, H, W = frames.shape
        known = self.look(frames.flatten(0, 1)).view(B, T, -1, self.model.width)
        grey = to_grey(frames.float() / (levels - 1))
        chroma = cut_patches(to_chroma(frames[:, 0], levels), patch)
        drawn = [paint(grey[:, 0], join_patches(chroma, patch, (2, H, W)))]
        for t in range(1, T):
            chroma = attend(known[:, t], known[:, t - 1]) @ chroma
            drawn.append(paint(grey[:, t], join_patches(chroma, patch, (2, H, W))))
        true = (frames.float() * (255 / (levels - 1))).round().to(torch.uint8)
        shown = torch.stack([true, torch.stack(drawn, 1)], 1).flatten(0, 2)
        note = "held-out films; below each, its grey frames with colours copied from the first"
        return [Sheet("followed", "Followed", note, shown, 256, T)]


def attend(query: Tensor, key: Tensor) -> Tensor:
    """How far each place copies from each other one.  [B, N, W], [B, M, W] -> [B, N, M]"""
    return (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(2)
