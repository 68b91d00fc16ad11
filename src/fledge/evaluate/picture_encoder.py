"""The encoder in whose features pictures are compared: our own, made of the data at hand, the same
for every model that is trained on it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.images.pictures import UNKNOWN, PictureSet, PictureShape, digest_of
from fledge.models.images.classifier import Classifier

Kind = Literal["labels", "random", "numbers"]
FEWEST_NUMBERS = 17  # pictures of fewer are compared as they are
SETTINGS = {"width": 16, "features": 32}
STEPS, ROWS, RATE = 400, 64, 3e-3
SEED = 0  # not the run's: runs on the same data are compared by the same encoder


def kind_for(shape: PictureShape) -> Kind:
    """labels: a classifier of the data's labels, below its logits. random: the same network, never
    trained, where there are none (as Naeem et al. 2020, arXiv:2002.09797, §3.3, do). numbers: a
    picture itself, where that is a few numbers.
    """
    if shape.numbers < FEWEST_NUMBERS:
        return "numbers"
    return "labels" if len(shape.names) > 1 else "random"


def describe_encoder(shape: PictureShape) -> str:
    return {
        "labels": "a classifier that has learned the labels of one half of the "
        "training pictures; samples are compared with the other half",
        "random": "a network of random weights, for want of labels; samples are "
        "compared with the training pictures",
        "numbers": "no encoder: a picture's own numbers; samples are compared with the training "
        "pictures",
    }[kind_for(shape)]


def halve(train: PictureSet) -> tuple[PictureSet, PictureSet]:
    """What the encoder learns from, and what samples are held against: features of pictures that it
    has learned are told from those of new ones. By content; without labels to learn all is
    compared, and a picture without a label is not learned from.
    """
    if kind_for(train.shape) != "labels":
        return train, train
    side = torch.tensor([int(digest_of(x)[-1], 16) % 2 for x in train.rows.x])
    learned = (side == 1) & (train.rows.label != UNKNOWN)
    return train.take(learned.nonzero()[:, 0]), train.take((side == 0).nonzero()[:, 0])


def make_encoder(learned: PictureSet) -> Classifier | None:
    """A function of the pictures alone; None where they are compared as they are."""
    kind = kind_for(learned.shape)
    if kind == "numbers":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = Classifier(learned.shape, SETTINGS)
    if kind == "labels":
        teach_labels(network, learned)
    return network.eval()


def teach_labels(network: Classifier, learned: PictureSet) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = learned.rows[torch.randint(len(learned), (ROWS,), generator=generator)]
            loss = F.cross_entropy(network.logits(rows.x), rows.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def embed(encoder: Classifier | None, x: Tensor) -> Tensor:
    """[N, C, H, W] uint8 -> [N, F] float64"""
    if encoder is None:
        return x.double().flatten(1)
    return torch.cat([encoder.features(some).double() for some in x.split(ROWS)])
