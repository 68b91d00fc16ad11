"""What was learned without labels is judged by how well labels are read off it: by a linear probe
and by the vote of neighbours, beside pixels and the same network untrained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.images.pretext import make_seeded
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.probes import probe_linearly, vote_of_neighbours
from fledge.images.films import FilmSet
from fledge.images.pictures import PictureSet, centre
from fledge.models.images.encoder import PictureEncoder
from fledge.recipes.images.config import ImagineConfig
from fledge.splits import HeldOut

READ = 256  # pictures at a time
MOST_ASKED = 1500  # pictures, evenly spread: a probe takes a second

Features = Callable[[Tensor], Tensor]
Parts = Mapping[Any, Any]


@dataclass(frozen=True)
class Yardsticks:
    """Of the test part: what goes into the summary, and what is said."""

    summary: dict[str, Any]
    lines: list[str]


def judge_features(model: Callable[[], Any], parts: Parts, labels: int) -> Judge:
    """The share of held-out pictures whose label is read right off their features, by who has seen
    so many labels.
    """

    def read(part: HeldOut, step: int) -> Figures:
        return measure_features(read_all(model()), parts, part, labels)

    items: dict[HeldOut, int] = {
        part: len(thin(parts[part], MOST_ASKED).rows) for part in ("validation", "test")
    }
    return Judge(
        read, headline="probe_accuracy", what="picture", prefix="validation_", items=items
    )  # fmt: skip


@torch.no_grad()
def measure_features(features: Features, parts: Parts, part: HeldOut, labels: int) -> Figures:
    """Labels of the training part are read; those of `part` are asked for."""
    learned, asked = thin(parts["train"], labels).rows, thin(parts[part], MOST_ASKED).rows
    x, y = features(learned.x), features(asked.x)
    ways = {"probe_accuracy": probe_linearly, "neighbour_accuracy": vote_of_neighbours}
    return {
        name: float((way(x, learned.label, y) == asked.label).double().mean())
        for name, way in ways.items()
    }


def measure_yardsticks(config: ImagineConfig, model: PictureEncoder, parts: Parts) -> Yardsticks:
    """Pixels, and the same network with weights that nothing has taught."""
    untrained = make_seeded(
        config.seed, "untrained", lambda: type(model)(model.shape, model.settings)
    ).eval()
    levels, labels = model.shape.levels, labels_of(config)
    measured = {
        "pixels": measure_features(lambda x: centre(x, levels).flatten(1), parts, "test", labels),
        "untrained": measure_features(read_all(untrained), parts, "test", labels),
    }
    said = "; ".join(
        f"{name} {100 * each['probe_accuracy']:.1f} % by a linear probe, "
        f"{100 * each['neighbour_accuracy']:.1f} % by neighbours"
        for name, each in measured.items()
    )
    return Yardsticks({"yardsticks": measured}, [f"Beside it, on the same pictures: {said}."])


def labels_of(config: ImagineConfig) -> int:
    """How many the probe may see; 500 of an algorithm of the user's that does not say."""
    return getattr(config.settings, "probe_labels", 500)


def read_all(model: PictureEncoder) -> Features:
    """A few at a time, wherever the model is.  [N, C, H, W] uint8 -> [N, W]"""

    def read(x: Tensor) -> Tensor:
        model.eval()
        pieces = x.split(READ)
        return torch.cat([model.features(each.to(model.place.device)).cpu() for each in pieces])

    return read


def thin(given: PictureSet | FilmSet, most: int) -> PictureSet:
    """At most so many pictures with a label, evenly spread."""
    pictures = given.as_pictures()
    known = (pictures.rows.label >= 0).nonzero()[:, 0]
    if len(known) > most:
        known = known[torch.linspace(0, len(known) - 1, most).round().long()]
    return pictures.take(known)
