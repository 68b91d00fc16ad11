"""A palette: the few colours that the pixels of a set are nearest to, by k-means (Lloyd 1982), as
Chen et al. (2020, Generative Pretraining from Pixels, §3.1) make rows short.
"""

from __future__ import annotations

import torch
from torch import Tensor

READ = 2**14  # pixels at a time
MOST = 20_000  # pixels that a palette is learned from
ROUNDS = 20


def nearest(pixels: Tensor, palette: Tensor) -> Tensor:
    """The number of the nearest colour.  [N, C], [K, C] of float -> [N]"""
    return torch.cat([torch.cdist(each, palette).argmin(1) for each in pixels.split(READ)])


def learn_palette(pixels: Tensor, colours: int, generator: torch.Generator) -> Tensor:
    """[N, C] float -> [colours, C], each of the pixels' own levels rounded; where there are fewer
    different pixels, the last ones again.
    """
    if len(pixels) > MOST:
        pixels = pixels[torch.randperm(len(pixels), generator=generator)[:MOST]]
    different = pixels.unique(dim=0)
    if len(different) <= colours:
        again = different[-1:].expand(colours - len(different), -1)
        return torch.cat([different, again])
    centre = different[torch.randperm(len(different), generator=generator)[:colours]]
    for _ in range(ROUNDS):
        own = nearest(pixels, centre)
        count = torch.bincount(own, minlength=colours)
        sums = torch.zeros_like(centre).index_add_(0, own, pixels)
        centre = torch.where((count > 0)[:, None], sums / count.clamp(min=1)[:, None], centre)
    return centre.round()
