"""A network that makes pictures out of noise, by label if asked, and one that gives a picture one
number: the two players of an adversarial game.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.images.pictures import PictureShape

SMALL = 16  # of the side: smaller pictures are made by dense layers
SLOPE = 0.2  # of the critics' leaky rectifiers, as DCGAN's (Radford et al. 2016)


class Generator(nn.Module):
    """z [B, Z] and, by label, its number [B] -> pictures of numbers from −1 to 1, [B, C, H, W].

    Nothing in it is normalised over a batch: a picture does not depend on those beside it.
    """

    def __init__(
        self, shape: PictureShape, latents: int, width: int, layers: int, by_label: bool
    ) -> None:
        super().__init__()
        self.latents, self.labels = latents, len(shape.names) if by_label else 0
        make = make_dense if is_small(shape) else make_upsampling
        self.body = make(shape, latents + self.labels, width, layers)
        self.size = shape.size

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.labels:
            z = torch.cat([z, F.one_hot(label, self.labels).to(z.dtype)], 1)
        _, H, W = self.size
        return self.body(z).view(len(z), -1, *self._made(H, W))[:, :, :H, :W].tanh()

    def _made(self, H: int, W: int) -> tuple[int, int]:
        """What the body makes: whole multiples of four, where it doubles a side twice."""
        if isinstance(self.body[-1], nn.Linear):
            return H, W
        return 4 * math.ceil(H / 4), 4 * math.ceil(W / 4)


class Critic(nn.Module):
    """Pictures of numbers from −1 to 1, and labels -> one number each, [B]. By label it adds the
    product of its last layer with a vector of the label (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, shape: PictureShape, width: int, layers: int, by_label: bool) -> None:
        super().__init__()
        make = make_reading if is_small(shape) else make_downsampling
        self.body = make(shape, width, layers)
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape.size)).shape[1]
        self.score = nn.Linear(features, 1)
        self.of_label = nn.Embedding(len(shape.names), features) if by_label else None

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        hidden = self.body(x)
        score = self.score(hidden)[:, 0]
        if self.of_label is not None:
            score = score + (self.of_label(label) * hidden).sum(1)
        return score.float()


def is_small(shape: PictureShape) -> bool:
    return max(shape.size[1:]) < SMALL


def make_dense(shape: PictureShape, inputs: int, width: int, layers: int) -> nn.Sequential:
    sizes = [inputs] + [width] * layers
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(width, shape.numbers))


def make_upsampling(shape: PictureShape, inputs: int, width: int, layers: int) -> nn.Sequential:
    """From a quarter of the side, doubled twice: nearest neighbours and a convolution in place of a
    transposed one, which leaves a chequered pattern (Odena et al. 2016).
    """
    quarter = math.ceil(shape.height / 4), math.ceil(shape.width / 4)
    half = max(1, width // 2)
    return nn.Sequential(
        nn.Linear(inputs, width * quarter[0] * quarter[1]), nn.SiLU(),
        nn.Unflatten(1, (width, *quarter)),
        nn.Upsample(scale_factor=2), nn.Conv2d(width, half, 3, padding=1), nn.SiLU(),
        *(part for _ in range(layers - 1) for part in (nn.Conv2d(half, half, 3, padding=1),
                                                       nn.SiLU())),
        nn.Upsample(scale_factor=2), nn.Conv2d(half, shape.channels, 3, padding=1),
    )  # fmt: skip


def make_reading(shape: PictureShape, width: int, layers: int) -> nn.Sequential:
    sizes = [shape.numbers] + [width] * layers
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.LeakyReLU(SLOPE))]
    return nn.Sequential(nn.Flatten(), *hidden)


def make_downsampling(shape: PictureShape, width: int, layers: int) -> nn.Sequential:
    half = max(1, width // 2)
    return nn.Sequential(
        nn.Conv2d(shape.channels, half, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE),
        nn.Conv2d(half, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE),
        *(part for _ in range(layers - 1) for part in (nn.Conv2d(width, width, 3, padding=1),
                                                       nn.LeakyReLU(SLOPE))),
        nn.Flatten(),
    )  # fmt: skip
