"""Many pictures on one: a sheet, in rows and columns with a line of paper between them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fledge.images.png import encode_png

PAPER = 255
SIDE = 32  # pixels of the screen that a small picture is enlarged to, at the least


def lay_out(x: Tensor, levels: int, columns: int | None = None, gap: int = 1) -> Tensor:
    """x: [N, C, H, W] uint8 of `levels`, row by row. columns: by default as many as make it wide
    as high.  -> [H', W', 1 or 3] uint8, enlarged without smoothing
    """
    N, C, H, W = x.shape
    if C == 4:
        x, C = x[:, :3], 3
    columns = columns or max(1, math.ceil(math.sqrt(N * H / W)))
    rows = math.ceil(N / columns)
    scale = max(1, round(SIDE / max(H, W)))
    bright = (x.float() * (255 / (levels - 1))).round().to(torch.uint8)
    bright = bright.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    high, wide = H * scale, W * scale
    sheet = torch.full((C, rows * (high + gap) + gap, columns * (wide + gap) + gap), PAPER)
    sheet = sheet.to(torch.uint8)
    for place, each in enumerate(bright):
        row, column = divmod(place, columns)
        top, left = gap + row * (high + gap), gap + column * (wide + gap)
        sheet[:, top : top + high, left : left + wide] = each
    return sheet.permute(1, 2, 0)


def encode_sheet(x: Tensor, levels: int, columns: int | None = None) -> bytes:
    """The same as a PNG file."""
    return encode_png(np.ascontiguousarray(lay_out(x, levels, columns).numpy()))
