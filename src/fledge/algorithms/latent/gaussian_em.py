"""EM for a mixture of normals: responsibilities under the present parameters, then the parameters
that are likeliest under these responsibilities. The bound rises at every step.

sample: all points, or a block of them.  score: log p(x, z).  weigh: responsibilities p(z | x).
fit: closed form (gaussian_m_step.py). Dempster, Laird & Rubin 1977; Bishop 2006, §9.2. In steps:
stepwise EM keeps a running mean of the sums (Cappé & Moulines 2009, eq. 13); incremental EM keeps
each block's sums and replaces them (Neal & Hinton 1998, eq. 7), and its bound rises at every block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.gaussian_m_step import EMPTY, expected_log_joint, lift, maximise
from fledge.algorithms.latent.gaussian_start import begin_at_clusters, begin_at_points
from fledge.algorithms.latent.known_components import expect_known, sum_known
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.split_merge import propose
from fledge.algorithms.latent.starts import (
    choose_points,
    fill_with_means,
)
from fledge.algorithms.latent.worst_explained import reseed
from fledge.models.latent.coordinates import Coordinates, measure_moments, whiten
from fledge.models.latent.gaussian_missing_pass import fill_missing
from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind
from fledge.models.latent.gaussian_pass import GaussianPass
from fledge.models.latent.moments import Moments
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

COARSE = 1e-3  # nats a point: a hundred times what single precision can err by
JUMP_STEPS = 20  # of EM by which a merge and a split are judged
COUNTS = ("k", "steps", "reseeded", "elbo", "passed", "done", "precise", "jumps")  # of its state
TRIAL_STEPS = 8  # of EM by which one start is compared with another


class GaussianEM:
    """`model`: the mixture as the last M-step left it. `elbo` of a step is taken before its M-step,
    where q is exact: it is the log-likelihood of the model before.
    """

    class Settings(MixtureSettings):
        """Of a mixture of normals and of EM."""

        covariance: Kind = Field(
            default="full", description="of a component: tied is one for all of them"
        )
        floor: float = Field(
            default=1e-6,
            ge=1e-9,
            lt=1,
            description="the least variance along any direction, as a share of the data's there",
        )
        start: Literal["kmeans", "random"] = Field(
            default="kmeans",
            description="clusters of k-means; or points at random, each as wide as all the data",
        )
        em: Literal["batch", "stepwise", "incremental"] = Field(
            default="batch",
            description="all points a step; or a block a step, with a running mean of its sums, or "
            "with the sums of every block kept",
        )
        decay: float = Field(
            default=0.7,
            gt=0.5,
            le=1,
            description="stepwise: step t takes (t + 2)^−decay of its block's sums",
        )

        split_merge: int = Field(
            default=0,
            ge=0,
            description="times that, once it stands, two components are merged and a third is "
            "split, if EM from there comes to a higher likelihood",
        )
        precision: Literal["double", "mixed"] = Field(
            default="double",
            description=f"mixed: products in single precision while a step raises the bound by "
            f"{COARSE:g} or more, and from then on in double",
        )

        @property
        def in_blocks(self) -> bool:
            return self.em != "batch"

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or GaussianEM.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: GaussianMixture | None = None
        self.coordinates: Coordinates | None = None
        self.moments: Moments | None = None  # stepwise: the running mean
        self.memory: list[Moments | None] = []  # incremental: of every block
        self.steps, self.reseeded = 0, 0
        self.elbo, self.passed = -torch.inf, -torch.inf  # of the last step, of the last whole pass
        self.done = False
        self.precise = self.settings.precision == "double"
        self.jumps = 0  # split and merged, so often
        self._passes: GaussianPass | None = None

    def begin(self, points: Points, model: GaussianMixture | None = None) -> None:
        """Coordinates, and a first model: the one given, else the best of several starts."""
        if points.label is not None:
            self.k = max(self.k, len(points.names))
        self._measure(points)
        if model is None:
            model = self._choose_start(points)
        self.model = model

    def _measure(self, points: Points) -> None:
        self.settings.check_points(points)
        mean, covariance = measure_moments(fill_with_means(points.x), points.weight)
        diagonal = self.settings.covariance in ("diagonal", "spherical")
        self.coordinates = whiten(mean, covariance, diagonal=diagonal)

    def _choose_start(self, points: Points) -> GaussianMixture:
        """k-means++ and k-means from each start; where there are several, a few steps of EM on some
        of the points say which is best (Biernacki, Celeux & Govaert 2003).
        """
        assert self.coordinates is not None
        if points.label is not None and bool((points.label >= 0).any()):
            own = points.take(points.label >= 0)
            moments = sum_known(own, self.coordinates, self.k, self.settings.covariance)
            return self._maximise(moments, own.total, None)
        generator = generator_for(self.seed, "weights", "start")
        trials: list[tuple[float, int, GaussianMixture]] = []
        for start in range(self.settings.starts):
            part = choose_points(points.x, points.weight, generator)
            model, rose = self._start_at(part, generator), -torch.inf
            for _ in range(TRIAL_STEPS if self.settings.starts > 1 else 0):
                moments, rose = self.expect(part, model)
                model = self._maximise(moments, part.total, model)
            trials.append((rose, -start, model))
        return max(trials, key=lambda trial: trial[:2])[2]

    def _start_at(self, points: Points, generator: torch.Generator) -> GaussianMixture:
        assert self.coordinates is not None
        begin = begin_at_points if self.settings.start == "random" else begin_at_clusters
        kind = self.settings.covariance
        moments = begin(points, self.coordinates, kind, self.k, generator)
        return self._maximise(moments, points.total, None)

    def _maximise(
        self, moments: Moments, points: float, previous: GaussianMixture | None
    ) -> GaussianMixture:
        assert self.coordinates is not None
        s = self.settings
        return maximise(moments, self.coordinates, s.covariance, s.floor, points, previous)

    def _lift(self, covariance: Tensor) -> Tensor:
        assert self.coordinates is not None
        return lift(covariance, self.coordinates, self.settings.covariance, self.settings.floor)

    def expect(self, points: Points, model: GaussianMixture) -> tuple[Moments, float]:
        """The E-step, and Σ_n w_n log p(x_n); of a point whose component is known, log p(x, z)."""
        assert self.coordinates is not None
        if points.label is not None:
            return expect_known(points, model, self.coordinates, self.expect)
        if self._passes is None:
            self._passes = GaussianPass(model.kind, model.components, self.coordinates)
        if points.has_missing:
            return fill_missing(self.coordinates, model, points.x, points.weight)
        single = not self.precise
        return self._passes.run(model, points.x, points.weight, single=single)

    def log_likelihood(self, points: Points) -> float:
        """Σ_n w_n log p(x_n) of the model as it is, in nats."""
        assert self.model is not None
        coarse, self.precise = self.precise, True
        density = self.expect(points.without_labels(), self.model)[1]
        self.precise = coarse
        return density

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step on the points of a batch."""
        with self.stopwatch.phase("fit"):
            points = batch.points
            if self.model is None:
                self.begin(points)
            assert self.model is not None
            before = self.model
            moments, density = self.expect(points, before)
            kept = self._combine(moments, batch)
            self.model = self._maximise(kept, points.total * batch.of, before)
            elbo = self._bound(density / points.total, batch)
            if self.settings.em == "batch":
                self.model, new = reseed(self.model, points, self.reseeded, EMPTY, self._lift)
                self.reseeded += new
            else:
                new = 0
            self.steps += 1
            # A block's figures rise and fall with the block, and a pass is as many steps as blocks.
            whole = self.settings.em != "stepwise" and self.steps % batch.of == 0
            if whole or batch.of == 1:
                rose, self.passed = elbo - self.passed, elbo
                self.done = not new and self.precise and rose < self.settings.tolerance
                self.precise |= rose < COARSE
                if self.done and self.jumps < self.settings.split_merge:
                    self.done = not self._jump(points)
            self.elbo = elbo
            figures = {"elbo": elbo, "smallest_weight": float(self.model.weight.min())}
            return figures | ({"reseeded": float(self.reseeded)} if self.reseeded else {})

    def _jump(self, points: Points) -> bool:
        """Whether a merge and a split led to a higher likelihood; then the best is the model."""
        assert self.model is not None
        generator = generator_for(self.seed, "weights", f"jump {self.jumps}")
        best = self.log_likelihood(points) + self.settings.tolerance * points.total
        jumped = False
        for candidate in propose(self.model, points.x, generator):
            model = candidate
            for _ in range(JUMP_STEPS):
                moments, _ = self.expect(points, model)
                model = self._maximise(moments, points.total, model)
            reached = self.expect(points, model)[1]
            if reached > best:
                best, jumped, self.model = reached, True, model
        self.jumps += jumped
        return jumped

    def _combine(self, moments: Moments, batch: Block) -> Moments:
        """What the M-step is given: this batch's sums, or those of others with them."""
        em, total = self.settings.em, batch.points.total
        if batch.of == 1 or em == "batch":
            return moments
        if em == "stepwise":
            share = 1.0 if self.moments is None else (self.steps + 2) ** -self.settings.decay
            self.moments = moments.mix(self.moments or moments, share / total, 1 - share)
            return self.moments
        self.memory = self.memory or [None] * batch.of
        self.memory[batch.number] = moments
        kept = moments
        for number, other in enumerate(self.memory):
            if other is not None and number != batch.number:
                kept = kept.mix(other, 1.0, 1.0)
        self.moments = kept
        return kept

    def _bound(self, density: float, batch: Block) -> float:
        """Nats a point: of these points before the step; or, where all blocks' responsibilities are
        kept, F(q, θ) = Q + H after it (Neal & Hinton 1998, eq. 5).
        """
        if self.settings.em != "incremental" or batch.of == 1:
            return density
        assert self.model is not None
        assert self.moments is not None
        assert self.coordinates is not None
        if any(each is None for each in self.memory):
            return density
        bound = expected_log_joint(self.model, self.moments, self.coordinates)
        return (bound + self.moments.entropy) / float(self.moments.count.sum())

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "coordinates": None if self.coordinates is None else dict(vars(self.coordinates)),
            "moments": None if self.moments is None else self.moments.state(),
            "memory": [None if each is None else each.state() for each in self.memory],
            "counts": [getattr(self, name) for name in COUNTS],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        def read(kind: Any, kept: Any) -> Any:
            return None if kept is None else kind(**kept)

        self.model = state["model"] and GaussianMixture.restore(*state["model"])
        self.coordinates = read(Coordinates, state["coordinates"])
        self.moments = read(Moments, state["moments"])
        self.memory = [read(Moments, each) for each in state["memory"]]
        for name, value in zip(COUNTS, state["counts"], strict=True):
            setattr(self, name, value)
