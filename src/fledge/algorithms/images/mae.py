"""A masked autoencoder (He et al. 2022, arXiv:2111.06377): most patches of a picture are hidden,
and foretold from those that are left.

sample: data.  score: –.  weigh: 1 on hidden patches.  fit: squared error of their pixels, each
    patch brought to mean 0 and variance 1 (§4.1), by a shallow decoder that is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.images.pretext import USUAL, EncoderSettings, Pretext, noise_for
from fledge.algorithms.images.protocol import Sheet
from fledge.errors import UserError
from fledge.images.pictures import Pictures, PictureSet, PictureShape, to_levels
from fledge.models.images.encoder import (
    Block,
    PictureEncoder,
    cut_patches,
    join_patches,
    wave_places,
)

SHOWN = 24
FLOOR = 0.05  # added to a patch's variance, of numbers from −1 to 1: what is blank stays so


@dataclass(frozen=True)
class Hidden(Pictures):
    """order: [B, N], the patches by chance: the first K are read, the others foretold."""

    order: Tensor


class Decoder(nn.Module):
    """What stood in every place, from the tokens of a few."""

    def __init__(self, grid: tuple[int, int], width: int, heads: int, numbers: int) -> None:
        super().__init__()
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.place = nn.Parameter(wave_places(*grid, width))
        self.block, self.norm = Block(width, heads), nn.LayerNorm(width)
        self.to_patch = nn.Linear(width, numbers)

    def forward(self, read: Tensor, order: Tensor) -> Tensor:
        """[B, K, W], [B, N] -> [B, N, C · p²], in the places' own order"""
        B, K, W = read.shape
        N = order.shape[1]
        mask = self.hidden.to(read.dtype).expand(B, N - K, W)
        at = order.argsort(1)[:, :, None].expand(-1, -1, W)
        said = torch.cat([read, mask], 1).gather(1, at) + self.place
        return self.to_patch(self.norm(self.block(said))).float()


class MAE(Pretext):
    usual: ClassVar[Mapping[str, Any]] = {**USUAL, "learning_rate": 3e-3}

    class Settings(EncoderSettings):
        hidden: float = Field(default=0.5, gt=0, lt=1, description="share of patches that are hid")

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> PictureEncoder:
        model = settings.build(shape)
        if len(model.place) < 2:
            raise UserError(
                f"pictures of {shape.height} × {shape.width} are one patch: none would be left to "
                "foretell. Give a smaller patch."
            )
        return model

    def make_heads(self) -> nn.Module:
        model = self.model
        return Decoder(
            model.grid, model.width, model.settings["heads"],
            model.channels * model.patch**2,
        )  # fmt: skip

    @property
    def kept(self) -> int:
        """K, of the N patches: at least one is read, and one hidden."""
        N = len(self.model.place)
        return min(max(1, round((1 - self.settings.hidden) * N)), N - 1)

    def foretell(self, x: Tensor, order: Tensor) -> Tensor:
        """Every patch, from the first K of its order.  [B, C, H, W], [B, N] -> [B, N, C · p²]"""
        return self.heads(self.model.tokens(x, order[:, : self.kept]), order)

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: squared error of a hidden number, as it is normalised."""
        generator = noise_for(self.seed, self.learner)
        order = torch.rand(len(batch), len(self.model.place), generator=generator).argsort(1)
        count = self.learner.count_rows(batch)

        def loss(rows: Hidden) -> tuple[Tensor, Mapping[str, Tensor]]:
            x = self.model.prepare(rows.x)
            wanted, _, _ = normalise(cut_patches(x, self.model.patch))
            error = (self.foretell(x, rows.order) - wanted) ** 2
            hidden = rows.order[:, self.kept :]
            return error.mean(2).gather(1, hidden).mean(1).sum() / count, {}

        with self.stopwatch.phase("fit"):
            said = self.learner.step(loss, Hidden.of(batch, order=order))
        return said | {"rows": float(len(batch))}

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        self.heads.cpu()  # where the model is by then
        x = held_out.rows.spread(SHOWN).x
        order = torch.rand(len(x), len(self.model.place), generator=generator).argsort(1)
        read = self.model.prepare(x)
        true = cut_patches(read, self.model.patch)
        _, mean, spread = normalise(true)
        said = self.foretell(read, order) * spread + mean
        hidden = order.argsort(1)[:, :, None] >= self.kept
        rows = (
            torch.where(hidden, -torch.ones_like(true), true),
            torch.where(hidden, said, true),
            true,
        )
        (_, H, W), levels = self.model.shape.size, self.model.shape.levels
        size = self.model.channels, H, W
        shown = [to_levels(join_patches(each, self.model.patch, size), levels) for each in rows]
        return [
            Sheet(
                "hidden", "Foretold", "held-out pictures: what is read, with the hidden patches "
                "foretold (each given its true brightness and contrast), and the whole",
                torch.stack(shown, 1).flatten(0, 1), levels, 6,
            )
        ]  # fmt: skip


def normalise(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch by its own mean and spread, and these.  [B, N, D] -> [B, N, D], twice [B, N, 1]"""
    mean = patches.mean(2, keepdim=True)
    spread = (patches.var(2, keepdim=True, correction=0) + FLOOR).sqrt()
    return (patches - mean) / spread, mean, spread
