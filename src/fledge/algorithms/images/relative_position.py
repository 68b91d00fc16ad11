"""Where a piece of a picture lies, seen from another (Doersch, Gupta & Efros 2015,
arXiv:1505.05192): above, to the right above, and so on, of eight.

sample: data.  score: –.  weigh: 1.  fit: cross-entropy of the side on which the second square lies,
    from what one encoder says of either; a gap of a random width keeps lines from running over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.algorithms.images.pretext import EncoderSettings, Pretext, noise_for, sum_of_right
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.encoder import PictureEncoder

SIDES = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])
PATCHES = 2  # a side of a square


@dataclass(frozen=True)
class TwoSquares(Pictures):
    """corner, other: [B, 2], row and column of two squares. side: [B], of `SIDES`."""

    corner: Tensor
    other: Tensor
    side: Tensor


class RelativePosition(Pretext):
    class Settings(EncoderSettings):
        """The encoder sees squares of two patches a side, and never the whole picture."""

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> PictureEncoder:
        smallest = min(shape.height, shape.width)
        patch = settings.patch or next((p for p in (4, 2) if 2 * PATCHES * p < smallest), 1)
        if 2 * PATCHES * patch >= smallest:
            raise UserError(
                f"two squares of {PATCHES * patch} pixels and a gap do not fit into pictures of "
                f"{shape.height} × {shape.width}: give a smaller patch, or larger pictures."
            )
        return settings.replace(patch=patch).build(shape, window=PATCHES)

    def make_heads(self) -> nn.Module:
        width = self.model.width
        return nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 8))

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: how often the side is right; by chance 1/8."""
        rows = place_squares(batch, self.model.window, noise_for(self.seed, self.learner))
        count = self.learner.count_rows(batch)

        def loss(rows: TwoSquares) -> tuple[Tensor, Mapping[str, Tensor]]:
            x = self.model.prepare(rows.x)
            both = torch.cat([
                cut_squares(x, corner, self.model.window) for corner in (rows.corner, rows.other)
            ])  # fmt: skip
            first, second = self.model.tokens(both).mean(1).chunk(2)
            logits = self.heads(torch.cat([first, second], 1)).float()
            share = F.cross_entropy(logits, rows.side, reduction="sum") / count
            return share, {"accuracy": sum_of_right(logits, rows.side, count)}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, rows)
        return said | {"rows": float(len(batch))}


def place_squares(batch: Pictures, side: int, generator: torch.Generator) -> TwoSquares:
    """Two squares that lie next to each other on one of eight sides, a gap of 1 to `side` / 4
    pixels between them, anywhere in the picture.
    """
    B, _, H, W = batch.x.shape
    number = torch.randint(len(SIDES), (B,), generator=generator)
    toward = SIDES[number]  # [B, 2]
    room = min(H, W) - 2 * side
    widest = max(1, min(side // 4, room))
    gap = torch.randint(1, widest + 1, (B, 2), generator=generator)
    apart = toward.abs() * (side + gap)
    free = torch.tensor([H, W]) - side - apart
    first = (torch.rand(B, 2, generator=generator) * (free + 1)).long().clamp(max=free)
    corner = first + torch.where(toward < 0, apart, 0)
    return TwoSquares.of(batch, corner=corner, other=corner + toward * apart, side=number)


def cut_squares(x: Tensor, corner: Tensor, side: int) -> Tensor:
    """[B, C, H, W], [B, 2] -> [B, C, side, side]"""
    along = torch.arange(side, device=x.device)
    i, j = (corner[:, axis, None] + along for axis in (0, 1))
    b = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[b, i[:, :, None], j[:, None]].permute(0, 3, 1, 2)
