"""A transformer over the numbers of a picture, or over the colours of its pixels by a palette
(Parmar et al. 2018, arXiv:1802.05751; Chen et al. 2020, Generative Pretraining from Pixels), with
whole or sparse attention.

It is told the number before and those above (to the left, straight and to the right), and places as
waves of row and column: to find these by attention over random places alone took most of a short
training (28 × 28 of two levels: 148 nats where a PixelCNN had 97).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.images.pictures import PictureShape
from fledge.models.images.attention_patterns import attention_mask
from fledge.models.images.autoregressive import (
    Advance,
    Autoregressive,
    PlaceBias,
    make_embedding,
    make_head,
)
from fledge.models.images.encoder import wave_places
from fledge.models.images.palette import learn_palette, nearest


class PixelTransformer(Autoregressive):
    """settings: width, heads, layers, attention (full, strided or fixed), stride (0: a row of the
    picture), summary (places that the fixed pattern sums a block up in), palette (colours).

    Where a pixel can be of more colours than the palette has, a row is H·W colours of it, and
    `nats` is of the picture in these.
    """

    name = "pixel_transformer"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, heads = self.settings["width"], self.settings["heads"]
        if width % heads:
            raise UserError(
                f"width={width} was given with heads={heads}: give a width that the heads divide."
            )
        colours = self.settings["palette"]
        self.register_buffer("palette", None)
        self.palette: Tensor | None
        if shape.levels**shape.channels > colours and shape.channels > 1:
            self.palette = torch.zeros(colours, shape.channels)
            self.length, self.values = shape.height * shape.width, colours
        across = self.length // shape.height
        # How far back the number before and those above lie, in the row that is said.
        step = across // shape.width
        near = {1, across - step, across, across + step}
        self.near = sorted(back for back in near if 0 < back < self.length) or [1]
        embed = make_embedding if self.palette is None else nn.Embedding  # colours have no order
        self.embeddings = nn.ModuleList(embed(self.values, width) for _ in self.near)
        self.first = nn.Parameter(torch.randn(width))
        self.place = nn.Parameter(wave_places(shape.height, across, width))
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(self.settings["layers"]))
        self.norm = nn.LayerNorm(width)
        self.head = make_head(width, self.values)
        self.place_bias = PlaceBias(self.length, self.values)
        stride = self.settings["stride"] or across
        mask = attention_mask(
            self.settings["attention"], self.length, heads, stride, self.settings["summary"]
        )
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor

    def learn_palette(self, x: Tensor, generator: torch.Generator) -> None:
        """Of the pictures that are learned from; nothing where there is no palette.  [N, C, H, W]
        uint8
        """
        if self.palette is not None:
            pixels = x.permute(0, 2, 3, 1).flatten(0, 2).float()
            self.palette.copy_(learn_palette(pixels, len(self.palette), generator))

    @property
    def remark(self) -> str:
        if self.palette is None:
            return ""
        return f"Nats are of the picture in a palette of {self.values} colours, not of its levels."

    def to_row(self, x: Tensor) -> Tensor:
        if self.palette is None:
            return super().to_row(x)
        pixels = x.permute(0, 2, 3, 1).flatten(0, 2).float()
        return nearest(pixels, self.palette).view(len(x), -1)

    def to_pictures(self, row: Tensor) -> Tensor:
        if self.palette is None:
            return super().to_pictures(row)
        C, H, W = self.shape.size
        pixels = self.palette[row].to(torch.uint8).view(len(row), H, W, C)
        return pixels.permute(0, 3, 1, 2).contiguous()

    def conditionals(self, x: Tensor, label: Tensor | None) -> Tensor:
        hidden = self.place.expand(len(x), -1, -1)
        for back, embedding in zip(self.near, self.embeddings, strict=True):
            hidden = hidden + F.pad(embedding(x), (0, 0, back, 0))[:, : self.length]
        hidden = hidden + F.pad(self.first[None], (0, 0, 0, self.length - 1))
        mask = None if self.settings["attention"] == "full" else self.mask
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return self.place_bias(self.head(self.norm(hidden)))

    def begin(self, count: int, label: Tensor | None) -> Advance:
        """A layer keeps keys and values of what was said."""
        layers: list[Any] = list(self.layers)
        caches = [layer.make_cache(count, self.length) for layer in layers]
        full = self.settings["attention"] == "full"
        said: list[Tensor] = []

        def advance(t: int, before: Tensor | None) -> Tensor:
            if before is not None:
                said.append(before)
            hidden = (self.place[t] if t else self.place[t] + self.first).expand(count, -1)
            for back, embedding in zip(self.near, self.embeddings, strict=True):
                if back <= t:
                    hidden = hidden + embedding(said[t - back])
            seen = None if full else self.mask[:, t, : t + 1]
            for layer, cache in zip(layers, caches, strict=True):
                hidden = layer.advance(hidden, cache, t, seen)
            return self.place_bias.at(t, self.head(self.norm(hidden)))

        return advance


class Block(nn.Module):
    """Attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_all = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: [B, D, W]. mask: [heads, D, D]; None: all that was before."""
        B, D, _ = x.shape
        q, k, v = self.to_all(self.before_attention(x)).view(B, D, 3, self.heads, -1).unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.attended(heard.transpose(1, 2).flatten(2))
        return x + self.feed(self.before_feed(x))

    def make_cache(self, count: int, length: int) -> Tensor:
        """Keys and values.  [2, B, heads, D, W / heads]"""
        each = self.attended.weight.shape[0] // self.heads
        return self.attended.weight.new_zeros(2, count, self.heads, length, each)

    def advance(self, x: Tensor, cache: Tensor, t: int, seen: Tensor | None) -> Tensor:
        """The same at one place.  x: [B, W]. seen: [heads, t + 1], which of those before."""
        B = len(x)
        q, k, v = self.to_all(self.before_attention(x)).view(B, 3, self.heads, -1).unbind(1)
        cache[0, :, :, t], cache[1, :, :, t] = k, v
        keys, values = cache[:, :, :, : t + 1]
        mask = None if seen is None else seen[:, None]
        heard = F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=mask)
        x = x + self.attended(heard.flatten(1))
        return x + self.feed(self.before_feed(x))
