"""What every autoregressive model of pictures is: p(x) = Π_t p(x_t | x_1 … x_{t−1}), the numbers of
a picture said one by one.

A picture is a row of D numbers, each one of L levels: pixel by pixel as one reads, the channels of
a pixel beside each other. A model gives the logits of all D conditionals of a whole picture at once
(`conditionals`), or one after the other as a picture is drawn, with what it has computed kept
(`begin`, `advance`). Both are the same numbers, and a tested promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.picture_model import PictureModel

READ = 2**16  # numbers of pictures that are read at a time where nothing is learned


class Advance(Protocol):
    """A drawing on its way: told the number before, it gives the logits of the next."""

    def __call__(self, t: int, before: Tensor | None) -> Tensor:
        """t: the place, from 0 on, each in turn. before: [B] int64, the number at t − 1; None at
        0.  -> [B, L]
        """
        ...


class Autoregressive(PictureModel):
    """length: D. values: L. A subclass gives `conditionals` and `begin`."""

    measure = "exact"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        self.length, self.values = shape.numbers, shape.levels
        self.register_buffer("order", None)
        self.order: Tensor | None  # [D], which number of the row is said when; None: as one reads

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        """x: [B, D] int64, in the order in which they are said. label: [B], of a model that draws
        by label.  -> logits of each number given those before it, [B, D, L]
        """
        raise NotImplementedError

    def begin(self, count: int, label: Tensor | None) -> Advance:
        """A drawing of so many pictures side by side, of which nothing is said yet."""
        raise NotImplementedError

    def to_row(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D] int64, in the order in which they are said."""
        row = x.permute(0, 2, 3, 1).flatten(1).long()
        return row if self.order is None else row[:, self.order]

    def to_pictures(self, row: Tensor) -> Tensor:
        """The inverse.  [B, D] -> [B, C, H, W] uint8"""
        C, H, W = self.shape.size
        if self.order is not None:
            row = row[:, self.order.argsort()]
        return row.to(torch.uint8).view(len(row), H, W, C).permute(0, 3, 1, 2).contiguous()

    def nats(self, rows: Pictures, generator: torch.Generator | None = None) -> Tensor:
        """−log p(x), exactly; nothing is drawn."""
        pieces = torch.arange(len(rows)).split(max(1, READ // self.length))
        return torch.cat([self.learned_nats(rows[piece], 0) for piece in pieces])

    def learned_nats(self, rows: Pictures, step: int) -> Tensor:
        """What is minimised at an optimizer step: −log p(x), all rows at once.  -> [B]"""
        return self.nats_of(self.to_row(rows.x), rows.label if self.by_label else None)

    def nats_of(self, x: Tensor, label: Tensor | None) -> Tensor:
        """[B, D] -> [B]"""
        logits = self.conditionals(x, label).float()
        return F.cross_entropy(logits.mT, x, reduction="none").sum(1)

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        uniform = torch.rand(count, self.length, generator=generator)
        return self.to_pictures(self.draw(uniform, label))

    @torch.no_grad()
    def draw(
        self, uniform: Tensor, label: Tensor | None = None, said: Tensor | None = None
    ) -> Tensor:
        """Rows that these uniform numbers choose, one a number.  [B, D] -> [B, D]

        said: [B, T], the first numbers of each row, which are kept.
        """
        device = next((p.device for p in self.parameters()), uniform.device)
        uniform = uniform.to(device)
        row = torch.zeros(uniform.shape, dtype=torch.long, device=device)
        kept = 0 if said is None else said.shape[1]
        if said is not None:
            row[:, :kept] = said
        advance = self.begin(len(row), None if label is None else label.to(device))
        for t in range(self.length):
            logits = advance(t, row[:, t - 1] if t else None)
            if t >= kept:
                row[:, t] = choose(logits, uniform[:, t])
        return row

    @torch.no_grad()
    def draw_naively(self, uniform: Tensor, label: Tensor | None = None) -> Tensor:
        """The same by a whole pass for each number: what `draw` is held against."""
        row = torch.zeros(uniform.shape, dtype=torch.long)
        for t in range(self.length):
            row[:, t] = choose(self.conditionals(row, label)[:, t], uniform[:, t])
        return row


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """The level in whose share of [0, 1) the uniform number lies.  [B, L], [B] -> [B]"""
    upto = logits.float().softmax(1).cumsum(1)[:, :-1]
    return (upto <= uniform[:, None]).sum(1)


def shift(x: Tensor, first: Tensor | None = None) -> Tensor:
    """Each place has what stood before it; the first one `first` [C], else zeros.  [B, D, C] -> the
    same
    """
    if first is None:
        return F.pad(x, (0, 0, 1, 0))[:, :-1]
    return torch.cat([first.expand(len(x), 1, -1), x[:, :-1]], 1)
