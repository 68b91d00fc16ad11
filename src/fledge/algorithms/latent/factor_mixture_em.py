"""EM for a mixture of factor analysers: responsibilities as of any mixture of normals; weights and
means in closed form; and one step of EM for each component's own factors.

sample: all points.  score: log p(x, z).  weigh: responsibilities, and the posterior of the factors.
fit: closed form. Ghahramani & Hinton 1996. With the responsibilities fixed, the means are the
likeliest for any covariance, and a step of factor analysis on the component's own covariance raises
what is left: so the likelihood never falls (a generalised EM, Dempster, Laird & Rubin 1977, §3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.gaussian_m_step import EMPTY, maximise
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.errors import UserError
from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.factor_mixture import FactorMixture
from fledge.models.latent.gaussian_missing_pass import fill_missing
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.gaussian_pass import GaussianPass
from fledge.models.latent.moments import Moments
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.stopwatch import Stopwatch


class FactorMixtureEM:
    """`elbo` is taken before a step's M-step, where it is the log-likelihood."""

    class Settings(MixtureSettings):
        """Of a mixture of factor analysers."""

        factors: int = Field(default=2, ge=1, description="of each component")
        noise_floor: float = Field(
            default=1e-4,
            gt=0,
            lt=1,
            description="the least noise variance, as a share of the column's variance",
        )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or FactorMixtureEM.Settings()
        self.k = self.settings.smallest_k
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: FactorMixture | None = None
        self.coordinates: Coordinates | None = None
        self.elbo, self.done = -torch.inf, False
        self._passes: GaussianPass | None = None

    def begin(self, points: Points) -> None:
        """A mixture of normals, begun as ever, lends its clusters; the factors of each are
        their longest axes.
        """
        self.settings.check_points(points)
        q, D = self.settings.factors, points.width
        if q > D:
            raise UserError(
                f"factors={q} of {D} columns in {points.source}: give as many as columns, or fewer."
            )
        full = GaussianEM.Settings(
            k=str(self.k), starts=self.settings.starts, floor=self.settings.noise_floor
        )
        start = GaussianEM(full, seed=self.seed)
        start.begin(points.without_labels())
        assert start.model is not None
        self.coordinates = start.coordinates
        self.model = self._begin_factors(start.model)

    def _begin_factors(self, normals: GaussianMixture) -> FactorMixture:
        """The longest axes of each covariance, in columns of equal spread."""
        q, scale = self.settings.factors, self._variance().sqrt()
        value, vector = torch.linalg.eigh(normals.covariance / (scale[:, None] * scale))
        rest = value[:, :-q].mean(1) if q < len(scale) else 0.5 * value[:, 0]
        length = (value[:, -q:] - rest[:, None]).clamp_min(1e-6).sqrt()
        loading = vector[:, :, -q:] * length[:, None, :] * scale[:, None]
        own = normals.covariance.diagonal(dim1=1, dim2=2)
        noise = own - loading.square().sum(2)
        return FactorMixture(normals.weight, normals.mean, loading, self._raise(noise))

    def _variance(self) -> Tensor:
        """Of the data's columns.  [D]"""
        assert self.coordinates is not None
        return self.coordinates.inverse.square().sum(1)

    def _raise(self, noise: Tensor) -> Tensor:
        return torch.maximum(noise, self.settings.noise_floor * self._variance())

    def _expect(self, points: Points, model: FactorMixture) -> tuple[Moments, float]:
        assert self.coordinates is not None
        if points.has_missing:
            return fill_missing(self.coordinates, model.normals, points.x, points.weight)
        if self._passes is None:
            self._passes = GaussianPass("full", self.k, self.coordinates)
        return self._passes.run(model.normals, points.x, points.weight)

    def _maximise(self, moments: Moments, model: FactorMixture, points: float) -> FactorMixture:
        assert self.coordinates is not None
        normals = maximise(moments, self.coordinates, "full", 0.0, points, model.normals)
        loading, noise = step_factors(model.loading, model.noise, normals.covariance)
        noise = self._raise(noise)
        empty = normals.weight * points < EMPTY * min(1.0, points)
        loading = torch.where(empty[:, None, None], model.loading, loading)
        noise = torch.where(empty[:, None], model.noise, noise)
        return FactorMixture(normals.weight, normals.mean, loading, noise)

    def log_likelihood(self, points: Points) -> float:
        assert self.model is not None
        return self._expect(points.without_labels(), self.model)[1]

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step."""
        with self.stopwatch.phase("fit"):
            points = batch.points
            if self.model is None:
                self.begin(points)
            assert self.model is not None
            moments, density = self._expect(points, self.model)
            self.model = self._maximise(moments, self.model, points.total)
            elbo = density / points.total
            self.done = elbo - self.elbo < self.settings.tolerance
            self.elbo = elbo
            return {"elbo": elbo, "smallest_weight": float(self.model.weight.min())}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "coordinates": None if self.coordinates is None else dict(vars(self.coordinates)),
            "counts": [self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and FactorMixture.restore(*state["model"])
        kept = state["coordinates"]
        self.coordinates = None if kept is None else Coordinates(**kept)
        self.elbo, self.done = state["counts"]


def step_factors(loading: Tensor, noise: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """One step of EM for factor analysis on each covariance S: W' = S Gᵀ (Cov[h|x] + G S Gᵀ)⁻¹ and
    Ψ' = diag(S − W' G S), with G = Cov[h|x] Wᵀ Ψ⁻¹.  [K, D, q], [K, D], [K, D, D] -> the first two
    """
    scaled = loading / noise[:, :, None]
    eye = torch.eye(loading.shape[2], dtype=loading.dtype)
    spread = torch.linalg.inv(eye + loading.mT @ scaled)  # [K, q, q]
    gain = spread @ scaled.mT  # [K, q, D]
    across = covariance @ gain.mT  # [K, D, q]
    made = torch.linalg.solve(spread + gain @ across, across.mT).mT
    return made, covariance.diagonal(dim1=1, dim2=2) - (made * across).sum(2)
