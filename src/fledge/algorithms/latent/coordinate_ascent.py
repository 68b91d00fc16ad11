"""Variational inference for a Bayesian mixture of normals: by coordinate ascent, or by natural
gradients on a block of points at a time.

sample: all points, or a block of them.  score: E[log p(x, z | θ)] under q(θ).  weigh:
responsibilities q(z).  fit: q(θ) in closed form: the prior and the sums of all points. Bishop 2006,
§10.2.1. Stochastic (Hoffman, Blei, Wang & Paisley 2013): a step along the natural gradient of the
bound is a running mean of these very sums, each block's scaled to all points (eq. 22).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field

from fledge.algorithms.latent.gaussian_start import sum_by_label
from fledge.algorithms.latent.posterior_step import measure_terms, update_posterior
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.starts import assign, begin_centres, choose_points, measure_seen
from fledge.errors import UserError
from fledge.models.latent.bayesian_mixture import (
    BayesianKind,
    BayesianMixture,
    MixturePrior,
    WeightPrior,
)
from fledge.models.latent.coordinates import Coordinates, whiten
from fledge.models.latent.gaussian_missing_pass import fill_missing
from fledge.models.latent.gaussian_pass import GaussianPass
from fledge.models.latent.mixture_divergence import component_divergence, weight_divergence
from fledge.models.latent.moments import Moments
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

COARSE = 1e-3  # nats a point: a hundred times what single precision can err by
TRIAL_STEPS = 8  # by which one start is compared with another


class CoordinateAscent:
    """`model`: the posterior as the last step left it. `elbo` of a step is taken where q(z) is the
    best for q(θ), before q(θ) moves.
    """

    class Settings(MixtureSettings):
        """Of a Bayesian mixture of normals: its prior, and how its posterior is found."""

        covariance: BayesianKind = Field(
            default="full", description="of a component: full, or variances alone"
        )
        prior: WeightPrior = Field(
            default="dirichlet", description="of the weights: dirichlet, or process: no end of them"
        )
        concentration: float | None = Field(
            default=None, ge=1e-6, le=1e6, description="of that prior; by default 1/k"
        )
        mean_precision: float = Field(
            default=1.0, gt=0, le=1e9, description="points that the prior of a mean counts for"
        )
        degrees: float | None = Field(
            default=None, gt=0, description="points that the prior of a covariance counts for; by "
            "default as many as columns",
        )  # fmt: skip
        spread: float = Field(
            default=1.0, ge=1e-6, le=1e6, description="prior scale, as a share of the data's "
            "covariance",
        )  # fmt: skip
        inference: Literal["cavi", "svi"] = Field(
            default="cavi",
            description="cavi: all points a step; svi: a block a step, along the natural gradient",
        )
        decay: float = Field(
            default=0.7, gt=0.5, le=1, description="svi: step t goes (t + delay)^−decay of the way"
        )
        delay: float = Field(
            default=1.0, ge=1, description="svi: the larger, the smaller it begins"
        )

        precision: Literal["double", "mixed"] = Field(
            default="double",
            description=f"mixed: products in single precision while a step raises the bound by "
            f"{COARSE:g} or more, and from then on in double",
        )

        @property
        def in_blocks(self) -> bool:
            return self.inference == "svi"

        def check_points(self, points: Points) -> None:
            super().check_points(points)
            least = points.width - 1 if self.covariance == "full" else 0
            if self.degrees is not None and self.degrees <= least:
                raise UserError(
                    f"degrees={self.degrees:g} and {points.width} columns: a Wishart needs more "
                    f"than {least}; give more, or leave degrees out."
                )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or CoordinateAscent.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: BayesianMixture | None = None
        self.prior: MixturePrior | None = None
        self.coordinates: Coordinates | None = None
        self.moments: Moments | None = None  # svi: the running mean of the sums, of all points
        self.steps, self.elbo, self.done = 0, -torch.inf, False
        self.precise = self.settings.precision == "double"
        self._passes: GaussianPass | None = None

    def begin(self, points: Points, model: BayesianMixture | None = None) -> None:
        """Coordinates, the prior, and a first posterior: the one given, else the best of several
        k-means starts.
        """
        s = self.settings
        s.check_points(points)
        mean, covariance = measure_seen(points.x, points.weight)
        self.coordinates = whiten(mean, covariance, diagonal=s.covariance == "diagonal")
        root = self.coordinates.inverse
        # columns without a spread or with one in common have some in these coordinates
        scale = s.spread * (root @ root.T)
        self.prior = MixturePrior(
            s.covariance, s.prior, s.concentration or 1 / self.k, mean, s.mean_precision,
            s.degrees or float(points.width), scale if s.covariance == "full" else scale.diagonal(),
        )  # fmt: skip
        self.model = self._choose_start(points) if model is None else model

    def _choose_start(self, points: Points) -> BayesianMixture:
        assert self.coordinates is not None
        assert self.prior is not None
        generator = generator_for(self.seed, "weights", "start")
        trials: list[tuple[float, int, BayesianMixture]] = []
        for start in range(self.settings.starts):
            part = choose_points(points.x, points.weight, generator)
            assert part.weight is not None
            # a missing value is as the mean of its column, to begin from
            apart = (part.x - self.coordinates.centre).nan_to_num()
            scaled = apart / self.coordinates.inverse.square().sum(1).sqrt()
            nearest = assign(scaled, begin_centres(scaled, part.weight, self.k, generator))
            z = apart @ self.coordinates.matrix.T
            moments = sum_by_label(z, nearest, self.k, self.settings.covariance, part.weight)
            share, rose = points.total / part.total, -torch.inf
            model = update_posterior(self.prior, self.coordinates, moments, share)
            for _ in range(TRIAL_STEPS if self.settings.starts > 1 else 0):
                moments, density = self.expect(part, model)
                model = update_posterior(self.prior, self.coordinates, moments, share)
                rose = share * density - weight_divergence(model) - component_divergence(model)
            trials.append((rose, -start, model))
        return max(trials, key=lambda trial: trial[:2])[2]

    def expect(self, points: Points, model: BayesianMixture) -> tuple[Moments, float]:
        """Sums under the best q(z), and Σ_n w_n log Σ_k exp E[log p(x_n, z = k)], integrated over
        what is missing: q is of it too, given z.
        """
        assert self.coordinates is not None
        mixture, weight = model.expected_mixture(), model.log_pass_weight()
        if points.has_missing:
            return fill_missing(self.coordinates, mixture, points.x, points.weight, weight)
        if self._passes is None:
            self._passes = GaussianPass(model.kind, model.components, self.coordinates)
        return self._passes.run(
            mixture, points.x, points.weight, log_weight=weight, single=not self.precise
        )

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """q(z) of the points of a batch, then q(θ)."""
        with self.stopwatch.phase("fit"):
            points, of = batch.points, batch.of
            if self.model is None:
                self.begin(points)
            assert self.model is not None
            assert self.coordinates is not None
            before = self.model
            moments, density = self.expect(points, before)
            terms = measure_terms(before, moments, density, of)
            terms = {name: value / (of * points.total) for name, value in terms.items()}
            kept = self._blend(moments, of)
            self.model = update_posterior(before.prior, self.coordinates, kept)
            self.steps += 1
            # a block's bound rises and falls with the block
            if of == 1:
                rose = terms["elbo"] - self.elbo
                self.done = self.precise and rose < self.settings.tolerance
                self.precise = self.precise or rose < COARSE
            self.elbo = terms["elbo"]
            used = float((self.model.degrees - self.model.prior.degrees > 1).sum())
            return terms | {"used_components": used}

    def _blend(self, moments: Moments, of: int) -> Moments:
        """What stands for all points: their sums, or the running mean after a natural step."""
        if of == 1:
            return moments
        step = (self.steps + self.settings.delay) ** -self.settings.decay
        if self.moments is None:
            step, self.moments = 1.0, moments
        self.moments = moments.mix(self.moments, step * of, 1 - step)
        return self.moments

    def log_likelihood(self, points: Points) -> float:
        """Σ_n w_n log p(x_n | the data learned from), each point by itself, in nats."""
        assert self.model is not None
        each = self.model.log_prob(points.x)
        return float(each.sum() if points.weight is None else each @ points.weight)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "coordinates": None if self.coordinates is None else dict(vars(self.coordinates)),
            "moments": None if self.moments is None else self.moments.state(),
            "counts": [self.steps, self.elbo, self.done, self.precise],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and BayesianMixture.restore(*state["model"])
        self.prior = None if self.model is None else self.model.prior
        kept = state["coordinates"]
        self.coordinates = None if kept is None else Coordinates(**kept)
        self.moments = None if state["moments"] is None else Moments(**state["moments"])
        self.steps, self.elbo, self.done, self.precise = state["counts"]
