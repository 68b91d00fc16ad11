"""A model of pictures is judged by the nats of held-out ones, where it has a density, and by labels
where it reads them; and what it is, in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fledge.algorithms.images.domain_adversary import read_target
from fledge.evaluate.judge import Figures, Judge
from fledge.images.films import FilmSet
from fledge.images.pictures import UNKNOWN, PictureSet, PictureShape
from fledge.models.images.classifier import Classifier
from fledge.models.images.encoder import PictureEncoder
from fledge.models.images.next_frame import NextFrame
from fledge.models.images.picture_model import PictureModel
from fledge.recipes.images.config import ImagineConfig
from fledge.recipes.images.next_frames import judge_frames
from fledge.recipes.images.probing import judge_features, labels_of
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


def judge_labels(
    model: Callable[[], Classifier], parts: Mapping[Split, PictureSet], prefix: str = ""
) -> Judge:
    """accuracy: the share of pictures whose label is read right. prefix: of its names."""

    def read(part: HeldOut, step: int) -> Figures:
        rows = parts[part].rows
        device = next(model().parameters()).device
        right = model().eval().read(rows.x.to(device)).cpu() == rows.label
        return {f"{prefix}accuracy": float(right.double().mean())}

    return Judge(
        read, headline=f"{prefix}accuracy", what="picture", prefix="validation_",
        items={part: len(parts[part]) for part in ("validation", "test")},
    )  # fmt: skip


def judge_target(model: Callable[[], Any], target: str, shape: PictureShape) -> Judge:
    """target_accuracy: of pictures of another domain, whose labels nobody has learned from; none
    where they have no labels.
    """
    parts = read_target(target, shape)
    known: dict[Split, PictureSet] = {
        part: given.take(given.rows.label != UNKNOWN) for part, given in parts.items()
    }
    if not min(map(len, known.values())):
        return Judge(lambda part, step: {})
    return judge_labels(model, known, "target_")


def list_judges(
    config: ImagineConfig, model: Callable[[], Any], parts: Mapping[Split, Any]
) -> list[Judge]:
    """What a model is judged by while it is trained: nats where it has a density, labels where it
    reads them or where they are read off its features, and the frames it foretells.
    """
    kind, target = model(), getattr(config.settings, "target", None)
    judges: list[Judge] = []
    if kind.measure != "none":
        judges.append(judge_pictures(model, parts, config.seed))
    if isinstance(kind, Classifier):
        judges.append(judge_labels(model, parts))
    if isinstance(kind, PictureEncoder) and parts["train"].labelled:
        judges.append(judge_features(model, parts, labels_of(config)))
    if isinstance(kind, NextFrame):
        judges.append(judge_frames(model, parts, config.seed))
    if target:
        judges.append(judge_target(model, target, kind.shape))
    return judges


def describe_model(name: str, model: PictureModel, train: PictureSet | FilmSet) -> str:
    labels = f" with {len(train.shape.names)} labels" if train.labelled else ""
    kind = f"films of {train.frames_each} frames" if isinstance(train, FilmSet) else "pictures"
    return (
        f"{name} of {model.count_parameters():,} parameters on {len(train):,} {kind} of "
        f"{train.shape.describe()}{labels}"
    )
