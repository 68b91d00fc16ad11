"""A model of pictures is judged by the nats of held-out ones, where it has a density; and what it
is, in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from fledge.evaluate.judge import Figures, Judge
from fledge.images.pictures import PictureSet
from fledge.models.images.picture_model import PictureModel
from fledge.seeds import generator_for
from fledge.splits import HeldOut, Split

READ = 256  # pictures at a time


@torch.no_grad()
def measure_nats(model: PictureModel, given: PictureSet, seed: int) -> float:
    """The mean over pictures, of the same random numbers every time."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generator = generator_for(seed, "evaluation", "pictures")
    total = 0.0
    for start in range(0, len(given), READ):
        rows = given.rows[slice(start, start + READ)].to(device)
        total += float(model.nats(rows, generator).double().sum())
    return total / len(given)


def judge_pictures(
    model: Callable[[], PictureModel], parts: Mapping[Split, PictureSet], seed: int
) -> Judge:
    """nats: of a picture. bits_per_dim: nats / (D ln 2)."""

    def read(part: HeldOut, step: int) -> Figures:
        given = parts[part]
        nats = measure_nats(model(), given, seed)
        return {"nats": nats, "bits_per_dim": nats / (given.shape.numbers * math.log(2))}

    return Judge(
        read, headline="nats", lower_is_better=True, what="picture", prefix="validation_",
        items={part: len(parts[part]) for part in ("validation", "test")},
    )  # fmt: skip


def describe_model(name: str, model: PictureModel, train: PictureSet) -> str:
    labels = f" with {len(train.shape.names)} labels" if train.labelled else ""
    return (
        f"{name} of {model.count_parameters():,} parameters on {len(train):,} pictures of "
        f"{train.shape.describe()}{labels}"
    )
