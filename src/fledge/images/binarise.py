"""Pictures of two levels out of pictures of more, the same every time.

Salakhutdinov & Murray (2008, §5.1) draw each pixel of MNIST once, by its grey as a probability, and
all published figures of "binarised MNIST" are of such draws. Here the draw is a function of the
picture alone: its pixels are the key of the random numbers, so that a picture is drawn alike in
every set, run and place.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fledge.images.pictures import Pictures, PictureSet

Binarise = Literal["none", "threshold", "hash"]
WAYS: tuple[Binarise, ...] = get_args(Binarise)


def binarise(given: PictureSet, way: Binarise) -> PictureSet:
    """hash: a pixel is 1 with its own grey as the probability. threshold: where it is above
    half.
    """
    if way == "none" or given.shape.levels == 2:
        return given
    most = given.shape.levels - 1
    if way == "threshold":
        x = (2 * given.rows.x.int() > most).to(torch.uint8)
    else:
        x = torch.stack([draw_by_content(each, most) for each in given.rows.x])
    return replace(given, rows=Pictures(x, given.rows.label), shape=replace(given.shape, levels=2))


def draw_by_content(x: Tensor, most: int) -> Tensor:
    """One picture, [C, H, W] uint8 up to `most`.  -> the same, of 0 and 1"""
    content = x.contiguous().numpy()
    key = int.from_bytes(hashlib.sha256(content.tobytes()).digest()[:16], "big")
    uniform = np.random.Generator(np.random.Philox(key=key)).random(content.shape)
    return torch.from_numpy((uniform * most < content).astype(np.uint8))
