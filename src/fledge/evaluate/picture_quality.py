"""How good samples of pictures are, by one scale for every model that draws: Fréchet distance,
precision and recall, a classifier two-sample test, the nearest training picture, and labels drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.evaluate.frechet import frechet_distance
from fledge.evaluate.manifolds import precision_and_recall
from fledge.evaluate.nearest_pictures import (
    Nearest,
    compare_distances,
    find_nearest,
    smallest_distance,
)
from fledge.evaluate.picture_encoder import embed, halve
from fledge.evaluate.two_samples import tell_apart
from fledge.images.pictures import UNKNOWN, PictureSet
from fledge.models.images.classifier import Classifier
from fledge.trajectories import spread_evenly

FEWEST = 20  # pictures on a side, of which anything is said
MOST = 2000  # real pictures that are compared with: distances between all are held at once
MISSED = 0.1  # a label that is drawn less than this times as often as it is in the data is missed


@dataclass(frozen=True)
class Quality:
    """figures: by name, as the summary has them. nearest: of each drawn picture."""

    figures: dict[str, float]
    nearest: Nearest


class Yardstick:
    """The real side of the comparison, embedded once.

    Every feature is measured in its own deviation over the real pictures, so that a Fréchet
    distance does not depend on the scale of the encoder's last layer. held_out: pictures that were
    not trained on; measured as if they had been drawn, they say what a perfect model would get.
    """

    def __init__(self, encoder: Classifier | None, train: PictureSet, held_out: PictureSet) -> None:
        self.encoder, self.train, self.held_out = encoder, train, held_out
        reference = halve(train)[1]
        self.reference = reference.take(spread_evenly(len(reference), MOST))
        real = embed(encoder, self.reference.rows.x)
        self.mean, self.deviation = real.mean(0), real.std(0).clamp(min=1e-6)
        self.real = (real - self.mean) / self.deviation
        levels = train.shape.levels
        self.held_out_nearest = find_nearest(held_out.rows.x, train.rows.x, levels)

    @property
    def enough(self) -> bool:
        """Whether there are real pictures enough to say something."""
        return min(len(self.real), len(self.held_out)) >= FEWEST

    def measure(self, x: Tensor, asked: Tensor | None = None) -> Quality:
        """x: [N, C, H, W] uint8, N of `FEWEST` or more. asked: [N], the label that each was to be.

        Precision and recall are of as many real pictures as drawn ones, for their balls are larger
        where points are fewer.
        """
        drawn = (embed(self.encoder, x) - self.mean) / self.deviation
        number = min(len(drawn), len(self.real))
        real = self.real[spread_evenly(len(self.real), number)]
        precision, recall = precision_and_recall(real, drawn[:number])
        apart = tell_apart(self.real, drawn)
        nearest = find_nearest(x, self.train.rows.x, self.train.shape.levels)
        smallest = smallest_distance(self.train.shape.numbers, self.train.shape.levels)
        figures = {
            "pictures": float(len(x)),
            "frechet": frechet_distance(self.real, drawn),
            "precision": precision,
            "recall": recall,
            "told_apart": apart.accuracy,
            "chance_low": apart.low,
            "chance_high": apart.high,
            "nearest_ratio": compare_distances(nearest, self.held_out_nearest, smallest),
        }
        return Quality(figures | self.read_labels(x, asked), nearest)

    def measure_held_out(self, most: int) -> Quality:
        """Of so many of them, at the most: as many as were drawn."""
        held_out = self.held_out.rows.x
        return self.measure(held_out[spread_evenly(len(held_out), most)])

    def frechet_of_few(self, x: Tensor, number: int) -> float:
        """The mean over lots of so many drawn pictures: what compares with the distance of as many
        real ones, both being too large alike.
        """
        drawn = (embed(self.encoder, x) - self.mean) / self.deviation
        lots = [some for some in drawn.split(number) if len(some) == number]
        return sum(frechet_distance(self.real, some) for some in lots) / len(lots)

    def read_labels(self, x: Tensor, asked: Tensor | None) -> dict[str, float]:
        """labels_drawn: how many of the labels come up, a collapse leaves some out. read_right: of
        what was drawn by label the share that the encoder reads as that label.
        """
        if self.encoder is None or not self.train.labelled:
            return {}
        K, read = len(self.train.shape.names), self.encoder.read(x)
        known = self.train.rows.label[self.train.rows.label != UNKNOWN]
        usual, drawn = (torch.bincount(each, minlength=K) / len(each) for each in (known, read))
        figures = {"labels_drawn": float(((drawn > MISSED * usual) & (usual > 0)).sum())}
        if asked is not None:
            figures["read_right"] = float((read == asked).double().mean())
        return figures


def judge_samples(yardstick: Yardstick, x: Tensor, asked: Tensor | None) -> tuple[Quality, Quality]:
    """What was drawn, and held-out pictures in its place; the Fréchet distance of the first in lots
    of as many as those are, as `frechet_as_few`.
    """
    real = yardstick.measure_held_out(len(x))
    drawn = yardstick.measure(x, asked)
    drawn.figures["frechet_as_few"] = yardstick.frechet_of_few(x, int(real.figures["pictures"]))
    return drawn, real


def describe_quality(drawn: dict[str, float], real: dict[str, float]) -> list[str]:
    """In sentences, for a terminal."""
    first = (
        f"{drawn['pictures']:,.0f} drawn pictures: Fréchet distance {drawn['frechet']:.2f} "
        f"({drawn['frechet_as_few']:.2f} of {real['pictures']:,.0f} at a time, where as many real "
        f"ones have {real['frechet']:.2f}), precision {drawn['precision']:.0%}, recall "
        f"{drawn['recall']:.0%}."
    )
    second = (
        f"A classifier tells them from real ones {drawn['told_apart']:.0%} of the time (chance: up "
        f"to {drawn['chance_high']:.0%}); the nearest training picture is "
        f"{drawn['nearest_ratio']:.2f} times as far as from a held-out one"
    )
    if "labels_drawn" in drawn:
        second += f"; {drawn['labels_drawn']:.0f} labels are drawn"
    if "read_right" in drawn:
        second += f", {drawn['read_right']:.0%} as asked for"
    return [first, second + "."]
