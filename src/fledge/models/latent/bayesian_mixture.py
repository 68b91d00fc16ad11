"""A mixture of normals whose parameters are uncertain: a posterior over weights, means and
precisions.

q(π) q(μ, Λ): Dirichlet weights or the sticks of a Dirichlet process, and of each component a
normal–Wishart, or of variances alone a normal and a gamma a column. Bishop 2006, §10.2; Blei &
Jordan 2006. Sticks beyond the last component are as the prior has them (Kurihara, Welling & Teh
2007), so the bound is one on the infinite mixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fledge.models.latent.gaussian_mixture import BLOCK, LOG_2PI, GaussianMixture
from fledge.models.latent.missing_values import each_pattern

WeightPrior = Literal["dirichlet", "process"]
BayesianKind = Literal["full", "diagonal"]


@dataclass(frozen=True)
class MixturePrior:
    """concentration: α₀ of every weight, or γ of the process. mean: m₀ [D]. mean_precision: β₀.
    degrees: ν₀. scale: W₀⁻¹ [D, D], or of variances [D].
    """

    kind: BayesianKind
    weights: WeightPrior
    concentration: float
    mean: Tensor
    mean_precision: float
    degrees: float
    scale: Tensor

    def posterior_of_nothing(self, K: int) -> BayesianMixture:
        """The prior itself, as K components."""
        one = torch.ones(K, dtype=torch.float64)
        first = self.concentration * one
        return BayesianMixture(
            self,
            first if self.weights == "dirichlet" else torch.stack([one, first], 1),
            self.mean_precision * one,
            self.mean.expand(K, -1).clone(),
            self.degrees * one,
            self.scale.expand(K, *self.scale.shape).clone(),
        )


@dataclass(frozen=True)
class BayesianMixture:
    """concentration: α [K] of a Dirichlet, or of each stick its beta's two numbers [K, 2].
    mean_precision: β [K]. mean: m [K, D]. degrees: ν [K]. scale: W⁻¹ [K, D, D] or [K, D].
    """

    prior: MixturePrior
    concentration: Tensor
    mean_precision: Tensor
    mean: Tensor
    degrees: Tensor
    scale: Tensor

    @property
    def components(self) -> int:
        return len(self.mean)

    @property
    def width(self) -> int:
        return self.mean.shape[1]

    @property
    def kind(self) -> BayesianKind:
        return self.prior.kind

    @property
    def weight(self) -> Tensor:
        """E[π]; of a process those of the components kept, made to sum to 1.  [K]"""
        if self.prior.weights == "dirichlet":
            return self.concentration / self.concentration.sum()
        total = self.concentration.sum(1)
        left = (self.concentration[:, 1] / total).cumprod(0)
        before = torch.cat([left.new_ones(1), left[:-1]])
        expected = self.concentration[:, 0] / total * before
        return expected / expected.sum()

    def expect_log_weight(self) -> Tensor:
        """E[log π_k].  [K]"""
        psi = torch.digamma(self.concentration)
        if self.prior.weights == "dirichlet":
            return psi - torch.digamma(self.concentration.sum())
        total = torch.digamma(self.concentration.sum(1))
        broken, left = psi[:, 0] - total, (psi[:, 1] - total).cumsum(0)
        return broken + torch.cat([left.new_zeros(1), left[:-1]])

    def expect_log_det(self) -> Tensor:
        """E[log |Λ_k|] + log |W_k⁻¹|: what uncertainty leaves of it.  [K]"""
        return self._digammas() + self.width * math.log(2)

    def _digammas(self) -> Tensor:
        if self.kind == "diagonal":
            return self.width * torch.digamma(self.degrees / 2)
        apart = torch.arange(self.width, dtype=torch.float64)
        return torch.digamma((self.degrees[:, None] - apart) / 2).sum(1)

    def log_det_scale(self) -> Tensor:
        """log |W_k⁻¹|.  [K]"""
        if self.kind == "diagonal":
            return self.scale.log().sum(1)
        return 2 * torch.linalg.cholesky(self.scale).diagonal(dim1=1, dim2=2).log().sum(1)

    def expected_mixture(self) -> GaussianMixture:
        """E[π], m and E[Λ]⁻¹: for pictures, and for a pass over points."""
        shape = (-1, 1, 1) if self.kind == "full" else (-1, 1)
        covariance = self.scale / self.degrees.view(shape)
        return GaussianMixture(self.kind, self.weight, self.mean, covariance)

    @property
    def normals(self) -> GaussianMixture:
        """What a film shows of it."""
        return self.expected_mixture()

    def log_pass_weight(self) -> Tensor:
        """What a component of `expected_mixture` must weigh for its log-joint to be E[log p(x, z)]
        (Bishop 2006, eqs. 10.64–10.67).  [K], logarithms
        """
        D = self.width
        uncertain = self.expect_log_det() - D * self.degrees.log() - D / self.mean_precision
        return self.expect_log_weight() + 0.5 * uncertain

    def expect_log_joint(self, x: Tensor) -> Tensor:
        """E_q[log p(x, z = k | π, μ, Λ)], its exponential integrated over what is missing (NaN).
        [n, D] -> [n, K]
        """
        return self.expected_mixture().log_density(x) + self.log_pass_weight()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | all data): a mixture of Student's t (Bishop 2006, eq. 10.81), of which a
        marginal is one again: a missing value (NaN) is integrated out.  [N, D] -> [N]
        """
        return torch.cat([self._log_joint(part).logsumexp(1) for part in x.split(BLOCK)])

    def _log_joint(self, x: Tensor) -> Tensor:
        joint = x.new_empty(len(x), self.components)
        if bool(x.isnan().any()):
            for rows, seen in each_pattern(x):
                joint[rows] = self._log_predictive(x[rows][:, seen], seen)
        else:
            joint = self._log_predictive(x, slice(None))
        return joint + self.weight.clamp_min(1e-300).log()

    def _log_predictive(self, x: Tensor, seen: Tensor | slice) -> Tensor:
        """Of points of the same values seen, under each component."""
        made, wider = x.new_empty(len(x), self.components), 1 + 1 / self.mean_precision
        for k in range(self.components):
            apart = x - self.mean[k, seen]
            if self.kind == "full":
                freedom = self.degrees[k] + 1 - self.width
                scale = self.scale[k][seen][:, seen] * (wider[k] / freedom)
                root = torch.linalg.cholesky(scale)
                square = torch.linalg.solve_triangular(root, apart.T, upper=False).square().sum(0)
                log_det = root.diagonal().log().sum()
                made[:, k] = log_student(square, freedom, x.shape[1]) - log_det
            else:
                freedom = self.degrees[k]
                variance = self.scale[k, seen] * (wider[k] / freedom)
                each = log_student(apart.square() / variance, freedom, 1)
                made[:, k] = each.sum(1) - 0.5 * variance.log().sum()
        return made

    def responsibility(self, x: Tensor) -> Tensor:
        """q(z = k) of each point.  [N, D] -> [N, K]"""
        return torch.cat([self.expect_log_joint(part).softmax(1) for part in x.split(BLOCK)])

    def predict(self, x: Tensor) -> Tensor:
        """The component that a point is likeliest of.  [N, D] -> [N]"""
        return torch.cat([self.expect_log_joint(part).argmax(1) for part in x.split(BLOCK)])

    def count_parameters(self) -> int:
        """Of the mixture that the posterior is about."""
        return self.expected_mixture().count_parameters()

    def card(self) -> dict[str, Any]:
        p = self.prior
        return {
            "model": "bayes_gmm", "kind": p.kind, "weights": p.weights, "degrees": p.degrees,
            "concentration": p.concentration, "mean_precision": p.mean_precision,
        }  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        named = {name: each for name, each in vars(self).items() if name != "prior"}
        named |= {"prior_mean": self.prior.mean, "prior_scale": self.prior.scale}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> BayesianMixture:
        prior = MixturePrior(
            card["kind"], card["weights"], card["concentration"], tensors["prior_mean"],
            card["mean_precision"], card["degrees"], tensors["prior_scale"],
        )  # fmt: skip
        names = ("concentration", "mean_precision", "mean", "degrees", "scale")
        return cls(prior, *(tensors[name] for name in names))


def log_student(square: Tensor, freedom: Tensor, D: int) -> Tensor:
    """Student's t of D dimensions at a squared distance, but for its scale's determinant."""
    half = freedom / 2
    constant = torch.lgamma(half + D / 2) - torch.lgamma(half) - D / 2 * (freedom * math.pi).log()
    return constant - (half + D / 2) * torch.log1p(square / freedom)


def expected_log_density(posterior: BayesianMixture, about_mean: Tensor, count: Tensor) -> float:
    """Σ_n Σ_k r_nk E[log N(x_n; μ_k, Λ_k⁻¹)] of second moments about m_k, in nats (Bishop 2006, eq.
    10.71).

    about_mean: Σ r (x − m)(x − m)ᵀ [K, D, D], or its diagonals [K, D]. count: [K].
    """
    D = posterior.width
    log_det = posterior.expect_log_det() - posterior.log_det_scale()
    linear = count @ (log_det - D * LOG_2PI - D / posterior.mean_precision)
    if posterior.kind == "full":
        solved = torch.linalg.solve(posterior.scale, about_mean)
        square = solved.diagonal(dim1=1, dim2=2).sum(1)
    else:
        square = (about_mean / posterior.scale).sum(1)
    return 0.5 * float(linear - posterior.degrees @ square)
