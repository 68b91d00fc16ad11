"""EM for factor analysis and probabilistic PCA: what the factors are expected to be, then the
loadings and noise that are likeliest. All of it is a function of the data's covariance alone, so a
step costs the same for any number of points; unless values are missing (factor_missing.py).

sample: all points.  score: log p(x, h).  weigh: the posterior of h.  fit: closed form. Rubin &
Thayer 1982; Ghahramani & Hinton 1996, eqs. 5–6; Tipping & Bishop 1999, appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.latent.factor_missing import step_seen
from fledge.algorithms.latent.settings import LatentSettings
from fledge.algorithms.latent.starts import measure_seen
from fledge.errors import UserError
from fledge.models.latent.factors import LOG_2PI, Factors, Noise
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch


class FactorEM:
    """`elbo` is taken before a step's M-step, where the posterior of h is exact. The mean is the
    data's own from the start: where no value is missing it is the likeliest whatever the loadings
    are.
    """

    kind: ClassVar[Noise] = "fa"

    class Settings(LatentSettings):
        """Of factors."""

        factors: int = Field(default=2, ge=1, description="how many there are")
        noise_floor: float = Field(
            default=1e-8,
            gt=0,
            lt=1,
            description="the least noise variance, as a share of the column's variance",
        )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or self.Settings()
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: Factors | None = None
        self.covariance = torch.empty(0)
        self.elbo, self.done = -torch.inf, False

    def begin(self, points: Points) -> None:
        """Small random loadings; the noise is what the columns vary by."""
        q, D = self.settings.factors, points.width
        if q > D:
            raise UserError(
                f"factors={q} of {D} columns in {points.source}: give as many as columns, or fewer."
            )
        mean, self.covariance = measure_seen(points.x, points.weight)
        variance = self.covariance.diagonal()
        constant = variance <= (1e-9 * mean.abs()).square() + 1e-300
        if bool(constant.any()):
            name = points.columns[int(constant.nonzero()[0])]
            raise UserError(
                f"{points.source}: {name} is the same for every point, and no factor explains "
                "that: leave the column out."
            )
        generator = generator_for(self.seed, "weights", "start")
        draw = torch.randn(D, q, generator=generator, dtype=torch.float64)
        loading = draw * (variance / q).sqrt()[:, None] * 0.5
        noise = 0.5 * variance
        self.model = self._floor(mean, loading, noise)

    def _level(self, noise: Tensor) -> Tensor:
        """At the floor or above; in ppca their mean for all."""
        least = self.settings.noise_floor * self.covariance.diagonal()
        if self.kind == "ppca":
            return noise.mean().clamp_min(float(least.mean())).expand(len(noise)).clone()
        return torch.maximum(noise, least)

    def log_likelihood(self, points: Points) -> float:
        assert self.model is not None
        each = self.model.log_prob(points.x)
        return float(each.sum() if points.weight is None else each @ points.weight)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step."""
        with self.stopwatch.phase("fit"):
            if self.model is None:
                self.begin(batch.points)
            assert self.model is not None
            points = batch.points
            if points.has_missing:
                *made, density = step_seen(self.model, points.x, points.weight)
                self.model = self._floor(*made)
                elbo = density / points.total
            else:
                elbo = mean_log_likelihood(self.model, self.covariance)
                self.model = self._maximise(self.model)
            rose, self.elbo = elbo - self.elbo, elbo
            self.done = rose < self.settings.tolerance
            return {"elbo": elbo, "mean_noise": float(self.model.noise.mean())}

    def _maximise(self, model: Factors) -> Factors:
        """W = S Gᵀ (Cov[h|x] + G S Gᵀ)⁻¹, Ψ = diag(S − W G S)."""
        gain, spread = model.posterior()
        across = self.covariance @ gain.T  # [D, q]: E[(x − μ) hᵀ]
        second = spread + gain @ across  # [q, q]: E[h hᵀ]
        loading = torch.linalg.solve(second, across.T).T
        noise = self.covariance.diagonal() - (loading * across).sum(1)
        return self._floor(model.mean, loading, noise)

    def _floor(self, mean: Tensor, loading: Tensor, noise: Tensor) -> Factors:
        return Factors(self.kind, mean, loading, self._level(noise))

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": None if self.model is None else [self.model.card(), self.model.tensors()],
            "covariance": self.covariance,
            "counts": [self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and Factors.restore(*state["model"])
        self.covariance = state["covariance"]
        self.elbo, self.done = state["counts"]


class PrincipalEM(FactorEM):
    """Probabilistic PCA: one noise variance for all columns."""

    kind: ClassVar[Noise] = "ppca"


def mean_log_likelihood(model: Factors, covariance: Tensor) -> float:
    """−½ (D log 2π + log |C| + tr C⁻¹ S), C = W Wᵀ + Ψ: nats a point of data with mean μ and
    covariance S.
    """
    gain, _ = model.posterior()
    scaled = covariance / model.noise[:, None]
    trace = scaled.diagonal().sum() - ((model.loading / model.noise[:, None]).T * (
        gain @ covariance
    )).sum()  # fmt: skip
    size = len(covariance)
    return -0.5 * float(size * LOG_2PI + model.log_det() + trace)
