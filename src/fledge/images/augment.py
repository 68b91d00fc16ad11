"""Changes that leave a picture what it is: shifted, turned, mirrored, cropped, cut out, made noisy.

Every picture of a batch gets a change of its own, drawn by the generator given; numbers that come
from outside the picture are level 0.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator
from torch import Tensor

Change = Literal["shift", "turn", "mirror", "crop", "cutout", "noise"]
CHANGES: tuple[Change, ...] = get_args(Change)


def split_names(given: Any) -> Any:
    """shift,turn as a list of two."""
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


Changes = Annotated[tuple[Change, ...], BeforeValidator(split_names)]  # as a command line has them
SHIFT = 1 / 8  # of the side, at the most and rounded down, but at least a pixel
TURN = math.pi / 12
CROPPED = 0.5  # of the side, the least of a crop that is kept
CUT = 1 / 4  # of the side
NOISE = 1 / 16  # of the levels, its deviation


def augment(
    x: Tensor, changes: tuple[Change, ...], levels: int, generator: torch.Generator
) -> Tensor:
    """[B, C, H, W] uint8 -> the same, each picture changed in every way that is named."""
    for change in CHANGES:  # in one order, whatever the order they were named in
        if change in changes:
            x = MAKERS[change](x, levels, generator)
    return x


def _shift(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    B, _, H, W = x.shape
    y, across = (max(1, int(side * SHIFT)) for side in (H, W))
    padded = F.pad(x, (across, across, y, y))
    down = torch.randint(0, 2 * y + 1, (B, 1), generator=generator) + torch.arange(H)
    right = torch.randint(0, 2 * across + 1, (B, 1), generator=generator) + torch.arange(W)
    b = torch.arange(B)[:, None, None]
    return padded.permute(0, 2, 3, 1)[b, down[:, :, None], right[:, None]].permute(0, 3, 1, 2)


def _turn(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    angle = (2 * torch.rand(len(x), generator=generator) - 1) * TURN
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    return _resample(x, matrix, levels)


def _resample(x: Tensor, matrix: Tensor, levels: int) -> Tensor:
    """Every picture seen through an affine map of its places.  [B, C, H, W], [B, 2, 3]"""
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    seen = F.grid_sample(x.float(), grid, align_corners=False)
    return seen.round().clamp(0, levels - 1).to(torch.uint8)


def _mirror(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def _crop(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """A square of it in the place of the whole (Szegedy et al. 2015, arXiv:1409.4842, §6)."""
    side = 1 - (1 - CROPPED) * torch.rand(len(x), generator=generator)
    room = (1 - side)[:, None]
    across, down = ((2 * torch.rand(len(x), 2, generator=generator) - 1) * room).T
    zero = torch.zeros(len(x))
    matrix = torch.stack([side, zero, across, zero, side, down], 1).view(-1, 2, 3)
    return _resample(x, matrix, levels)


def _cutout(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """DeVries & Taylor (2017), arXiv:1708.04552."""
    B, _, H, W = x.shape
    hidden = torch.ones(B, 1, 1, 1, dtype=torch.bool)
    for axis, side in ((2, H), (3, W)):
        size = max(1, int(side * CUT))
        start = torch.randint(0, side - size + 1, (B, 1), generator=generator)
        place = torch.arange(side)
        inside = (place >= start) & (place < start + size)
        hidden = hidden & inside.view(B, 1, *((-1, 1) if axis == 2 else (1, -1)))
    return x.masked_fill(hidden, 0)


def _noise(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator) * (NOISE * levels)
    return (x.float() + noise).round().clamp(0, levels - 1).to(torch.uint8)


MAKERS = {
    "shift": _shift, "turn": _turn, "mirror": _mirror, "crop": _crop, "cutout": _cutout,
    "noise": _noise,
}  # fmt: skip
