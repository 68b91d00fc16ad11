"""A small vision transformer that turns a picture into numbers (Dosovitskiy et al. 2021,
arXiv:2010.11929): patches are its tokens, and what it says of a picture is their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre
from fledge.models.images.picture_model import PictureModel

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


class Block(nn.Module):
    """Attention of every token to every other, then a network of each; normed before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_of_each = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv, self.to_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.each = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] -> [B, N, W]"""
        B, N, W = x.shape
        q, k, v = self.to_qkv(self.norm(x)).view(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, W)
        x = x + self.to_out(read)
        return x + self.each(self.norm_of_each(x))


class PictureEncoder(PictureModel):
    """settings: patch (pixels a side), width, layers, heads; grey, whether colours are taken away
    first; window (pixels a side, 0: none), where it reads squares of a picture one by one, half a
    square apart, and never the whole.
    """

    name = "encoder"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        self.patch, self.width = self.settings["patch"], self.settings["width"]
        self.grey, self.window = self.settings["grey"], self.settings["window"]
        self.channels = 1 if self.grey else shape.channels
        high, wide = (self.window, self.window) if self.window else (shape.height, shape.width)
        self.grid = high // self.patch, wide // self.patch
        self.to_token = nn.Linear(self.channels * self.patch**2, self.width)
        self.place = nn.Parameter(wave_places(*self.grid, self.width))
        self.blocks = nn.ModuleList(
            Block(self.width, self.settings["heads"]) for _ in range(self.settings["layers"])
        )
        self.norm = nn.LayerNorm(self.width)

    def prepare(self, x: Tensor) -> Tensor:
        """[B, C, H, W] uint8 -> what it reads, numbers from −1 to 1"""
        x = centre(x, self.shape.levels)
        return to_grey(x) if self.grey else x

    def tokens(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """x: [B, C, h, w], as `prepare` gives it. kept: [B, K], the patches that are read; by
        default all N.  -> [B, K, W]
        """
        read = self.to_token(cut_patches(x, self.patch)) + self.place
        if kept is not None:
            read = read.gather(1, kept[:, :, None].expand(-1, -1, self.width))
        for block in self.blocks:
            read = block(read)
        return self.norm(read)

    def features(self, x: Tensor) -> Tensor:
        """What a picture is to whoever learns from few labels.  [B, C, H, W] uint8 -> [B, W]"""
        read = self.prepare(x)
        if not self.window:
            return self.tokens(read).mean(1).float()
        pieces = cut_windows(read, self.window)
        said = self.tokens(pieces.flatten(0, 1)).mean(1)
        return said.view(*pieces.shape[:2], -1).mean(1).float()

    @property
    def can_sample(self) -> bool:
        return False


def wave_places(high: int, wide: int, width: int) -> Tensor:
    """A grid's places as waves of row and column (as He et al. 2022 begin with): as loud as what a
    patch says. With small random ones nothing was learned in the first hundreds of steps.  -> [high
    · wide, width]
    """
    quarter = width // 4
    speed = 32.0 ** -(torch.arange(quarter) / max(1, quarter - 1)) * 2
    angle = [torch.arange(n)[:, None] * speed for n in (high, wide)]
    row, column = (torch.cat([each.sin(), each.cos()], 1) for each in angle)
    both = torch.cat([
        row[:, None].expand(high, wide, -1), column[None].expand(high, wide, -1)
    ], 2).flatten(0, 1)  # fmt: skip
    return F.pad(both, (0, width - both.shape[1]))


def to_grey(x: Tensor) -> Tensor:
    """[…, 3, H, W] -> […, 1, H, W]; of one channel what it is."""
    if x.shape[-3] == 1:
        return x
    share = torch.tensor(GREY, device=x.device).view(3, 1, 1)
    return (x[..., :3, :, :] * share).sum(-3, keepdim=True)


def cut_patches(x: Tensor, patch: int) -> Tensor:
    """Squares in reading order.  [B, C, H, W] -> [B, H/p · W/p, C · p²]"""
    B, C, H, W = x.shape
    cut = x.view(B, C, H // patch, patch, W // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * patch**2)


def join_patches(x: Tensor, patch: int, size: tuple[int, int, int]) -> Tensor:
    """The inverse of `cut_patches`.  [B, N, C · p²] -> [B, C, H, W]"""
    C, H, W = size
    cut = x.view(len(x), H // patch, W // patch, C, patch, patch)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(x), C, H, W)


def cut_windows(x: Tensor, side: int) -> Tensor:
    """Squares of `side`, half a side apart.  [B, C, H, W] -> [B, n, C, side, side]"""
    step = max(1, side // 2)
    cut = x.unfold(2, side, step).unfold(3, side, step)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2).contiguous()
