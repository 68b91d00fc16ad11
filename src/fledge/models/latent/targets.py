"""What black-box inference is asked for: log p(x, z) of data x as a function of z ∈ ℝ^d. Two are
built in: logistic regression, and a small Bayesian mixture with its labels summed out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from fledge.errors import UserError
from fledge.models.latent.gaussian_mixture import LOG_2PI
from fledge.rows.points import Points


@dataclass(frozen=True)
class Terms:
    """log p(x, z) as a sum. values: [n, T]. touches: which coordinates are in which term, [T, d] of
    bool.
    """

    values: Tensor
    touches: Tensor


class Target(Protocol):
    """width: d. names: of z's coordinates. points: x; with none of them log_joint is log p(z)."""

    width: int
    names: tuple[str, ...]

    def log_joint(self, z: Tensor, points: Points) -> Tensor:
        """log p(x, z), in nats.  [n, d] -> [n]"""
        ...

    def terms(self, z: Tensor, points: Points) -> Terms:
        """The same as a sum of terms with few coordinates each."""
        ...


class LogisticRegression:
    """p(y = 1 | x, z) = σ(z₀ + Σ_i z_i x_i), z independent normals about 0."""

    def __init__(self, points: Points, prior_sd: float) -> None:
        if points.label is None or len(points.names) != 2:
            has = "no labels" if points.label is None else f"{len(points.names)} different labels"
            raise UserError(
                f"target=logistic and {has} in {points.source}: give labels=COLUMN of two kinds."
            )
        self.prior_sd, self.width = prior_sd, points.width + 1
        self.names = ("intercept", *points.columns)

    def log_likelihood(self, z: Tensor, points: Points) -> Tensor:
        """[n, d] -> [n]"""
        assert points.label is not None
        points.check_present("target=logistic")
        side = 2 * points.label.double() - 1
        known = points.label >= 0
        weight = known.double() if points.weight is None else known * points.weight
        score = z[:, :1] + z[:, 1:] @ points.x.T  # [n, N]
        return logsigmoid(side * score) @ weight

    def log_prior(self, z: Tensor) -> Tensor:
        """Coordinate by coordinate.  [n, d] -> [n, d]"""
        return -0.5 * ((z / self.prior_sd).square() + LOG_2PI) - math.log(self.prior_sd)

    def log_joint(self, z: Tensor, points: Points) -> Tensor:
        return self.log_likelihood(z, points) + self.log_prior(z).sum(1)

    def terms(self, z: Tensor, points: Points) -> Terms:
        """The likelihood, which every coordinate is in, and each one's prior."""
        values = torch.cat([self.log_likelihood(z, points)[:, None], self.log_prior(z)], 1)
        eye = torch.eye(self.width, dtype=torch.bool)
        return Terms(values, torch.cat([torch.ones(1, self.width, dtype=torch.bool), eye]))


class SmallMixture:
    """A mixture of K normals with variances by column; z are the logits of sticks, the means, and
    the logarithms of precisions. π ~ Dirichlet(α); λ ~ Gamma(ν/2, rate s/2); μ ~ N(m, 1/(β λ)),
    with m and s the data's own mean and variance.
    """

    def __init__(
        self, points: Points, components: int, *, alpha: float = 1.0, beta: float = 1.0,
        degrees: float = 2.0,
    ) -> None:  # fmt: skip
        points.check_present("target=mixture")
        self.K, D = components, points.width
        self.alpha, self.beta, self.degrees = alpha, beta, degrees
        self.m = points.x.mean(0)
        spread = points.x.var(0, correction=0)
        self.s = torch.where(spread > 0, spread, 1.0)
        self.width = components - 1 + 2 * components * D
        each = [(k + 1, column) for k in range(components) for column in points.columns]
        self.names = (
            *(f"stick {k + 1}" for k in range(components - 1)),
            *(f"mean {k} {column}" for k, column in each),
            *(f"log precision {k} {column}" for k, column in each),
        )

    def split(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> log π [n, K], μ [n, K, D], log λ [n, K, D]"""
        n, K = len(z), self.K
        stick, rest = z[:, : K - 1], z[:, K - 1 :]
        mean, log_precision = rest.view(n, 2, K, -1).unbind(1)
        none = z.new_zeros(n, 1)
        log_weight = torch.cat([logsigmoid(stick), none], 1)
        log_weight = log_weight + torch.cat([none, logsigmoid(-stick).cumsum(1)], 1)
        return log_weight, self.m + mean * self.s.sqrt(), log_precision - self.s.log()

    def log_likelihood_each(self, z: Tensor, points: Points) -> Tensor:
        """log p(x_i | z).  [n, d] -> [n, N]"""
        log_weight, mean, log_precision = self.split(z)
        apart = points.x[None, :, None, :] - mean[:, None]  # [n, N, K, D]
        log_precision = log_precision[:, None]
        each = -0.5 * (log_precision.exp() * apart.square() + LOG_2PI - log_precision)
        return (each.sum(3) + log_weight[:, None]).logsumexp(2)

    def log_joint(self, z: Tensor, points: Points) -> Tensor:
        values = self.terms(z, points).values
        return values.sum(1)

    def terms(self, z: Tensor, points: Points) -> Terms:
        """The likelihood and the sticks; and the prior of each mean with its precision."""
        D, K = len(self.s), self.K
        likelihood = self.log_likelihood_each(z, points)
        weight = points.weight
        whole = likelihood.sum(1) if weight is None else likelihood @ weight
        stick, rest = z[:, : K - 1], z[:, K - 1 :]
        left = self.alpha * torch.arange(K - 1, 0, -1, dtype=torch.float64)
        # v_k ~ Beta(α, (K − k) α), times dv/dz = v (1 − v)
        sticks = (
            torch.lgamma(self.alpha + left) - math.lgamma(self.alpha) - torch.lgamma(left)
            - self.alpha * softplus(-stick) - left * softplus(stick)
        )  # fmt: skip
        mean, log_precision = rest.view(len(z), 2, K * D).unbind(1)  # in units of the data
        a = self.degrees / 2
        gammas = a * log_precision - a_rate(log_precision) + a * math.log(0.5) - math.lgamma(a)
        scale = math.log(self.beta) + log_precision
        normals = 0.5 * (scale - LOG_2PI - scale.exp() * mean.square())
        values = torch.cat([whole[:, None], sticks, gammas + normals], 1)
        eye = torch.eye(K * D, dtype=torch.bool)
        touches = torch.zeros(values.shape[1], self.width, dtype=torch.bool)
        touches[0] = True
        touches[range(1, K), range(K - 1)] = True
        touches[K:, K - 1 :] = torch.cat([eye, eye], 1)
        return Terms(values, touches)


def a_rate(log_precision: Tensor) -> Tensor:
    """½ λ, in units of the data: the gamma's rate is ½."""
    return 0.5 * log_precision.exp()
