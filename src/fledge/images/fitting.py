"""Pictures of one size and number of levels made as those of another set are, so that one model
reads both.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from fledge.errors import UserError
from fledge.images.pictures import UNKNOWN, Pictures, PictureSet, PictureShape


def fit_to(given: PictureSet, shape: PictureShape) -> PictureSet:
    """Each number the mean of those that it covers, or the nearest, and rounded to the levels; the
    labels by name, unknown where the shape has none of that name.

    Raises UserError for pictures of other channels.
    """
    if given.shape.channels != shape.channels:
        raise UserError(
            f"{given.source} has pictures of {given.shape.channels} channels, and the others have "
            f"{shape.channels}: give pictures of one kind."
        )
    bright = given.rows.x.float() / (given.shape.levels - 1)
    if given.shape.size != shape.size:
        bright = F.adaptive_avg_pool2d(bright, (shape.height, shape.width))
    x = (bright * (shape.levels - 1)).round().to(torch.uint8)
    places = {name: place for place, name in enumerate(shape.names)}
    known = torch.tensor([places.get(name, UNKNOWN) for name in given.shape.names] + [UNKNOWN])
    # a label that is unknown is -1, which is the last of the table
    return replace(given, rows=Pictures(x, known[given.rows.label]), shape=shape)
