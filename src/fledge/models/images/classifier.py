"""A small network that reads what a picture is: one logit a label, and the numbers just below them,
by which pictures are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.images.pictures import PictureShape, centre
from fledge.models.images.picture_model import PictureModel

READ = 256  # pictures at a time
SMALL = 16  # of the side: below it dense layers read as well, in a tenth of the time
POOLED = 4  # of the side that convolutions leave, at the most
DENSE = 16  # hidden units for each of `width`


class Classifier(PictureModel):
    """settings: width (channels of the first convolution; of small pictures, which dense layers
    read, a 16th of the hidden units), features (numbers below the logits).

    It draws nothing. Of pictures without labels it has features alone.
    """

    name = "classifier"
    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, features = self.settings["width"], self.settings["features"]
        make = stack_dense if max(shape.size[1:]) < SMALL else stack_convolutions
        self.to_features = make(shape, width, features)
        self.to_logits = nn.Linear(features, max(1, len(shape.names)))

    @property
    def can_sample(self) -> bool:
        return False

    def features(self, x: Tensor) -> Tensor:
        """[B, C, H, W] uint8 -> [B, F]"""
        return self.to_features(centre(x, self.shape.levels))

    def logits_of(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, K]"""
        return self.to_logits(F.silu(features))

    def logits(self, x: Tensor) -> Tensor:
        """[B, C, H, W] uint8 -> [B, K]"""
        return self.logits_of(self.features(x))

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """The likeliest label of each.  [B, C, H, W] uint8 -> [B] int64"""
        return torch.cat([self.logits(some).argmax(1) for some in x.split(READ)])


def stack_dense(shape: PictureShape, width: int, features: int) -> nn.Sequential:
    hidden = DENSE * width
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape.numbers, hidden), nn.SiLU(), nn.Linear(hidden, features)
    )


def stack_convolutions(shape: PictureShape, width: int, features: int) -> nn.Sequential:
    body = nn.Sequential(
        nn.Conv2d(shape.channels, width, 3, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
    )  # fmt: skip
    with torch.no_grad():
        left = body(torch.zeros(1, *shape.size)).shape[2:]
    pooled = min(POOLED, left[0]), min(POOLED, left[1])
    inputs = 2 * width * pooled[0] * pooled[1]
    return nn.Sequential(
        body, nn.AdaptiveAvgPool2d(pooled), nn.Flatten(), nn.Linear(inputs, features)
    )
