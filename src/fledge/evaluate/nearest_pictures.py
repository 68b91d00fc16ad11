"""Whether a model draws what it was shown: how far each picture is from the nearest that was trained
on, beside how far pictures are that were not (after Meehan, Chaudhuri & Dasgupta 2020, arXiv:2004.05675).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.images.pictures import centre

READ = 512  # pictures at a time


@dataclass(frozen=True)
class Nearest:
    """distance: [N], root mean square over the numbers of a picture that go from −1 to 1. place:
    [N], of the nearest training picture.
    """

    distance: Tensor
    place: Tensor


def find_nearest(x: Tensor, train: Tensor, levels: int) -> Nearest:
    """[N, C, H, W] and [M, C, H, W], both uint8"""
    known = centre(train, levels).flatten(1)
    distances, places = [], []
    for some in x.split(READ):
        apart = torch.cdist(centre(some, levels).flatten(1), known)
        least = apart.min(1)
        distances.append(least.values)
        places.append(least.indices)
    return Nearest(torch.cat(distances) / known.shape[1] ** 0.5, torch.cat(places))


def compare_distances(drawn: Nearest, held_out: Nearest, smallest: float) -> float:
    """The middle distance of what is drawn over that of held-out pictures: 1 of new pictures of the
    same kind, 0 of copies, above 1 of what is unlike the data.

    smallest: what one number that differs by one level comes to; held-out pictures that are nearer
    (there are copies in the data) count as so far.
    """
    return float(drawn.distance.median()) / max(smallest, float(held_out.distance.median()))


def smallest_distance(numbers: int, levels: int) -> float:
    """Of two pictures of so many numbers that differ."""
    return 2 / (levels - 1) / numbers**0.5
