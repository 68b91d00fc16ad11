"""Two readers that keep the pictures they learned from: neighbours that vote on blurred pixels, and
kernel ridge regression. Nothing in them is learned by gradients, so that what pleases a network
need not please them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.images.pictures import Pictures, PictureShape, centre
from fledge.models.images.picture_model import PictureModel

NEIGHBOURS = 20
WIDTHS = (0.25, 0.5, 1.0, 2.0)  # of the kernel, in median distances of two pictures
PENALTIES = tuple(10.0**n for n in range(-4, 2))


class Remembering(PictureModel):
    """settings: rows (pictures that are kept)."""

    measure = "none"

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        rows, numbers, labels = self.settings["rows"], shape.numbers, len(shape.names)
        self.register_buffer("kept", torch.zeros(rows, numbers))
        self.register_buffer("answer", torch.zeros(rows, labels))  # what each says of the labels
        self.register_buffer("scale", torch.ones(()))  # of squared distances
        self.kept: Tensor
        self.answer: Tensor
        self.scale: Tensor


class NeighbourReader(Remembering):
    """The twenty pictures that are nearest when all are blurred vote, each with exp(−d² / s), s the
    median squared distance of a known picture to its nearest.
    """

    name = "neighbours"

    @torch.no_grad()
    def learn(self, rows: Pictures) -> None:
        self.kept = self.blur(rows.x)
        self.answer = F.one_hot(rows.label, len(self.shape.names)).float()
        apart = torch.cdist(self.kept, self.kept).square()
        self.scale = apart.fill_diagonal_(torch.inf).amin(1).median().clamp(min=1e-6)

    def blur(self, x: Tensor) -> Tensor:
        """By 1 2 1 down and across.  [B, C, H, W] uint8 -> [B, C · H · W]"""
        weight = torch.tensor([0.25, 0.5, 0.25], device=x.device)
        B, C, H, W = x.shape
        padded = F.pad(centre(x, self.shape.levels).view(B * C, 1, H, W), (1, 1, 1, 1), value=-1.0)
        down = F.conv2d(padded, weight.view(1, 1, 3, 1))
        return F.conv2d(down, weight.view(1, 1, 1, 3)).view(B, -1)

    def forward(self, x: Tensor) -> Tensor:
        """log p(label | x).  [B, C, H, W] uint8 -> [B, L]"""
        apart = torch.cdist(self.blur(x), self.kept).square()
        near, place = apart.topk(min(NEIGHBOURS, len(self.kept)), 1, largest=False)
        share = (-near / self.scale).log_softmax(1).exp()
        votes = (share[:, :, None] * self.answer[place]).sum(1)
        return votes.clamp(min=1e-9).log()


class KernelReader(Remembering):
    """The least squares of exp(−d² / s) between pictures to 1 where a label is and 0 elsewhere;
    s and the penalty are those that foretell each picture best that is left out (Allen 1974, in
    closed form).
    """

    name = "kernel"

    @torch.no_grad()
    def learn(self, rows: Pictures) -> None:
        self.kept = centre(rows.x, self.shape.levels).flatten(1)
        target = F.one_hot(rows.label, len(self.shape.names)).double()
        apart = torch.cdist(self.kept.double(), self.kept.double()).square()
        median = apart.sqrt().median().clamp(min=1e-6)
        least = torch.inf
        for width in WIDTHS:
            value, vector = torch.linalg.eigh((-apart / (2 * (width * median) ** 2)).exp())
            turned = vector.T @ target
            for penalty in PENALTIES:
                inverse = 1 / (value.clamp(min=0) + penalty)
                weight = vector @ (inverse[:, None] * turned)
                left_out = weight / (vector.square() @ inverse)[:, None]  # e_i / (1 − h_ii)
                error = float(left_out.square().mean())
                if error < least:
                    least, self.answer = error, weight.float()
                    self.scale = (2 * (width * median) ** 2).float()

    def forward(self, x: Tensor) -> Tensor:
        """The log of softmax of what it says of each label: its order is what counts.  [B, C, H, W]
        uint8 -> [B, L]
        """
        flat = centre(x, self.shape.levels).flatten(1)
        kernel = (-torch.cdist(flat, self.kept).square() / self.scale).exp()
        return (kernel @ self.answer).log_softmax(1)
