"""k-means: EM for a mixture of equal round normals in the limit of no variance, where every point
is of its nearest component alone. Lloyd 1982; Bishop 2006, §9.3.2. Of a point that lacks values
only those are looked at that it has, in the distance and in the mean: the same limit, with what is
missing integrated out.

sample: all points.  score: −½ |x − μ_k|².  weigh: 1 for the nearest.  fit: the mean of its points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.starts import begin_centres, choose_points
from fledge.models.latent.centres import Centres
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

CHUNK = 8_192


class KMeans:
    """`elbo` is −½ of the mean squared distance to the nearest centre before the step: what is left
    of σ² · ℓ in the limit.
    """

    figure: ClassVar[str] = "half_distance"  # what it is judged by: no likelihood

    class Settings(MixtureSettings):
        """Of k-means."""

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or KMeans.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: Centres | None = None
        self.reseeded, self.elbo, self.done = 0, -torch.inf, False

    def begin(self, points: Points, model: Centres | None = None) -> None:
        """The best of several starts by k-means++ and a few steps, on some of the points."""
        self.settings.check_points(points)
        if model is not None:
            self.model = model
            return
        generator = generator_for(self.seed, "weights", "start")
        trials: list[tuple[float, int, Tensor]] = []
        for start in range(self.settings.starts):
            some = choose_points(points.x, points.weight, generator)
            assert some.weight is not None
            centre = some.x.nanmean(0)
            apart = (some.x - centre).nan_to_num()  # a missing value is as its column's mean
            means = begin_centres(apart, some.weight, self.k, generator) + centre
            trials.append((float(Centres(means).log_prob(some.x) @ some.weight), -start, means))
        self.model = Centres(max(trials, key=lambda trial: trial[:2])[2])

    def log_likelihood(self, points: Points) -> float:
        """−½ Σ w min |x − μ|²."""
        assert self.model is not None
        each = self.model.log_prob(points.x)
        return float(each.sum() if points.weight is None else each @ points.weight)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Every point to its nearest centre, every centre to the mean of its points."""
        with self.stopwatch.phase("fit"):
            points = batch.points
            if self.model is None:
                self.begin(points)
            assert self.model is not None
            if points.has_missing:
                count, mean, square, furthest = assign_seen(points, self.model)
            else:
                count, sums, square, furthest = assign_all(points, self.model.mean)
                moved = sums / count.clamp_min(1e-300)[:, None]
                mean = torch.where(count[:, None] > 0, moved, self.model.mean)
            empty = (count == 0).nonzero().flatten().tolist()
            if empty and float(square) > 0:  # it begins anew at the point furthest from its centre
                mean[empty[0]] = furthest
                self.reseeded += 1
            self.model = Centres(mean)
            elbo = -0.5 * float(square) / points.total
            rose, self.elbo = elbo - self.elbo, elbo
            self.done = rose <= self.settings.tolerance * max(-elbo, 1e-300)
            figures = {"elbo": elbo, "smallest_weight": float(count.min()) / points.total}
            return figures | ({"reseeded": float(self.reseeded)} if self.reseeded else {})

    def state_dict(self) -> dict[str, Any]:
        return {
            "mean": None if self.model is None else self.model.mean,
            "counts": [self.reseeded, self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = None if state["mean"] is None else Centres(state["mean"])
        self.reseeded, self.elbo, self.done = state["counts"]


def assign_all(points: Points, mean: Tensor) -> tuple[Tensor, Tensor, float, Tensor]:
    """Of every centre the weight and the sum of its points; the weighted sum of squared distances;
    and the point that is furthest from its centre.  -> [K], [K, D], number, [D]

    By |x|² − 2 x·μ + |μ|² about the points' own centre, so that no digits are lost far from 0.
    """
    origin = points.x[0]
    about = mean - origin
    half = 0.5 * about.square().sum(1)
    count, sums = torch.zeros(len(mean), dtype=mean.dtype), torch.zeros_like(mean)
    square, most, furthest = 0.0, -1.0, points.x[0]
    for start in range(0, len(points), CHUNK):
        x = points.x[start : start + CHUNK]
        w = None if points.weight is None else points.weight[start : start + CHUNK]
        nearest = torch.addmm(-half, x - origin, about.T).argmax(1)
        apart = (x - mean[nearest]).square().sum(1)
        if w is None:
            count += torch.bincount(nearest, minlength=len(mean))
            sums.index_add_(0, nearest, x)
            square += float(apart.sum())
        else:
            count.index_add_(0, nearest, w)
            sums.index_add_(0, nearest, x * w[:, None])
            square += float(apart @ w)
            apart = apart * (w > 0)
        if float(apart.max()) > most:
            most, furthest = float(apart.max()), x[int(apart.argmax())]
    return count, sums, square, furthest


def assign_seen(points: Points, centres: Centres) -> tuple[Tensor, Tensor, float, Tensor]:
    """The same where values are missing: of every centre the weight of its points and where it
    moves, column by column the mean of the values that they have; the weighted sum of squared
    distances; and the furthest point, with its centre's values where it has none.
    -> [K], [K, D], number, [D]
    """
    mean = centres.mean
    count, present, sums = mean.new_zeros(len(mean)), torch.zeros_like(mean), torch.zeros_like(mean)
    square, most, furthest = 0.0, -1.0, mean[0]
    for start in range(0, len(points), CHUNK):
        x = points.x[start : start + CHUNK]
        w = x.new_ones(len(x))
        if points.weight is not None:
            w = points.weight[start : start + CHUNK]
        nearest, seen = centres.square_distance(x).argmin(1), ~x.isnan()
        apart = torch.where(seen, x - mean[nearest], 0.0)
        count.index_add_(0, nearest, w)
        present.index_add_(0, nearest, seen * w[:, None])
        sums.index_add_(0, nearest, apart * w[:, None])
        distance = apart.square().sum(1)
        square += float(distance @ w)
        distance = distance * (w > 0)
        if float(distance.max()) > most:
            n = int(distance.argmax())
            most, furthest = float(distance[n]), mean[nearest[n]] + apart[n]
    return count, mean + sums / present.clamp_min(1e-300), square, furthest
