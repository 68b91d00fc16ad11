"""Pictures to a small grid of features, and back: convolutions that halve and double the sides."""

from __future__ import annotations

from torch import Tensor, nn

from fledge.images.pictures import PictureShape


class Block(nn.Module):
    """x + conv(silu(conv(silu(x)))) (He et al. 2016, arXiv:1603.05027, without normalisation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(), nn.Conv2d(channels, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def stack_down(inputs: int, channels: int, halvings: int, blocks: int = 1) -> nn.Sequential:
    """[B, inputs, H, W] -> [B, channels, H / 2^halvings, W / 2^halvings]"""
    parts: list[nn.Module] = [nn.Conv2d(inputs, channels, 3, padding=1)]
    for _ in range(halvings):
        parts += [nn.SiLU(), nn.Conv2d(channels, channels, 4, stride=2, padding=1)]
    return nn.Sequential(*parts, *(Block(channels) for _ in range(blocks)), nn.SiLU())


def stack_up(channels: int, outputs: int, doublings: int, blocks: int = 1) -> nn.Sequential:
    """[B, channels, h, w] -> [B, outputs, h · 2^doublings, w · 2^doublings]"""
    parts: list[nn.Module] = [Block(channels) for _ in range(blocks)]
    for _ in range(doublings):
        parts += [nn.SiLU(), nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)]
    return nn.Sequential(*parts, nn.SiLU(), nn.Conv2d(channels, outputs, 3, padding=1))


def count_halvings(shape: PictureShape, most: int = 2) -> int:
    """How often both sides can be halved, and stay whole numbers of 2 or more."""
    halvings, high, wide = 0, shape.height, shape.width
    while halvings < most and not (high % 2 or wide % 2) and min(high, wide) >= 4:
        halvings, high, wide = halvings + 1, high // 2, wide // 2
    return halvings
