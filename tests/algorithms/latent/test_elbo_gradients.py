"""Every estimator's gradient is the exact one, within its interval at 10⁵ samples, and their
variances stand in the order of the theory.

A false alarm: 6 standard errors of 200 batches' mean, 30 coordinates and 10 cases, < 1e-6.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fledge.algorithms.latent.elbo_gradients import (
    importance_score_loss,
    pathwise_loss,
    rao_blackwell_loss,
    score_loss,
)
from fledge.models.latent.gamma_families import DirichletRatios, LogGammas
from fledge.models.latent.targets import Terms
from fledge.models.latent.variational_families import (
    IndependentNormals,
    OneNormal,
    VariationalFamily,
    make_family,
)

BATCHES, SAMPLES, ERRORS = 200, 500, 6.0
P = torch.tensor([[1.5, 0.6], [0.6, 0.8]], dtype=torch.float64)
H = torch.tensor([0.7, -0.4], dtype=torch.float64)


def log_joint(z: Tensor) -> Tensor:
    """−½ zᵀPz + hᵀz."""
    return -0.5 * ((z @ P) * z).sum(1) + z @ H


def terms(z: Tensor) -> Terms:
    """Each coordinate's own part, and what the two have in common."""
    own = -0.5 * P.diagonal() * z.square() + H * z
    both = -P[0, 1] * z[:, :1] * z[:, 1:]
    touches = torch.tensor([[True, False], [False, True], [True, True]])
    return Terms(torch.cat([own, both], 1), touches)


def bent(z: Tensor) -> Tensor:
    """No normal: a valley along z₁ = sin 2 z₀ (used where the answer is by quadrature)."""
    return -0.5 * (z[:, 0].square() / 2 + 4 * (z[:, 1] - (2 * z[:, 0]).sin()).square())


def start(q: VariationalFamily) -> VariationalFamily:
    """Somewhere off the optimum."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for each in q.parameters():
            each += 0.3 * torch.randn(each.shape, generator=random, dtype=torch.float64)
    return q


def gradient_of(loss: Tensor, q: VariationalFamily) -> Tensor:
    made = torch.autograd.grad(loss, list(q.parameters()), allow_unused=True)
    pairs = zip(q.parameters(), made, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def sample(
    q: VariationalFamily, estimate: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    batches: int = BATCHES,
) -> Tensor:  # fmt: skip
    """Estimates of the gradient of −bound, one a batch.  -> [batches, parameters]"""
    random = torch.Generator().manual_seed(11)
    return torch.stack([gradient_of(estimate(random)[0], q) for _ in range(batches)])


def check(estimates: Tensor, exact: Tensor) -> None:
    error = estimates.std(0) / len(estimates) ** 0.5
    apart = (estimates.mean(0) - exact).abs()
    assert bool((apart <= ERRORS * error + 1e-10).all()), (apart / error).max()
    # the interval says something: it is a small part of the gradient
    assert float(error.max()) < 0.2 * float(exact.abs().max())


def exact_of_normal(q: VariationalFamily) -> Tensor:
    """∇ of −E_q[log p − log q], in closed form for a quadratic log p: of Σ = L Lᵀ and μ."""
    if isinstance(q, IndependentNormals):
        mean, root = q.mean, torch.diag(q.log_sd.exp())
    else:
        assert isinstance(q, OneNormal)
        mean, root = q.mean, q.root()
    expected = -0.5 * ((P * (root @ root.T)).sum() + mean @ P @ mean) + H @ mean
    return gradient_of(-(expected + root.diagonal().log().sum()), q)


def exact_by_quadrature(q: VariationalFamily, log_p: Callable[[Tensor], Tensor]) -> Tensor:
    """∇ of the same as a sum over a grid."""
    line = torch.linspace(-9, 9, 361, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    log_q = q.log_prob(grid)
    cell = float(line[1] - line[0]) ** 2
    return gradient_of(-(log_q.exp() * (log_p(grid) - log_q)).sum() * cell, q)


@pytest.mark.parametrize(
    ("family", "way"),
    [
        *itertools.product(["independent", "normal"], ["pathwise", "score", "score and baseline"]),
        ("independent", "rao-blackwell"),
    ],
)
def test_the_gradient_is_the_closed_form(family: str, way: str) -> None:
    q = start(make_family(family, 2, torch.Generator()))  # pyright: ignore[reportArgumentType]
    if way == "rao-blackwell":
        assert isinstance(q, IndependentNormals)
        made = sample(q, lambda g: rao_blackwell_loss(q, terms, SAMPLES, g))
    elif way == "pathwise":
        made = sample(q, lambda g: pathwise_loss(q, log_joint, SAMPLES, g))
    else:
        made = sample(q, lambda g: score_loss(q, log_joint, SAMPLES, g, way != "score"))
    check(made, exact_of_normal(q))


@pytest.mark.parametrize("family", ["mixture", "flow"])
@pytest.mark.parametrize("way", ["pathwise", "score"])
def test_the_gradient_is_that_of_a_quadrature(family: str, way: str) -> None:
    """Of a mixture the path is implicit."""
    random = torch.Generator().manual_seed(2)
    q = start(make_family(family, 2, random, components=2, layers=2, hidden=4))  # pyright: ignore[reportArgumentType]
    with torch.no_grad():  # narrower: the grid must hold it
        for name, each in q.named_parameters():
            if "sd" in name:
                each -= 0.3
    estimate = score_loss if way == "score" else pathwise_loss
    made = sample(q, lambda g: estimate(q, bent, SAMPLES, g))
    check(made, exact_by_quadrature(q, bent))


def test_the_importance_weighted_gradient_is_that_of_a_quadrature() -> None:
    """Two samples within the logarithm: a sum over pairs on a line."""
    q = start(IndependentNormals(1))

    def log_p(z: Tensor) -> Tensor:
        return -(z.square().sum(1) ** 2) / 8 + z[:, 0]

    line = torch.linspace(-8, 8, 401, dtype=torch.float64)[:, None]
    log_q = q.log_prob(line)
    ratio = log_p(line) - log_q
    both = torch.logaddexp(ratio[:, None], ratio[None, :]) - math.log(2)
    weight = (log_q[:, None] + log_q[None, :]).exp() * float(line[1] - line[0]) ** 2
    exact = gradient_of(-(weight * both).sum(), q)
    half = SAMPLES // 2
    check(sample(q, lambda g: pathwise_loss(q, log_p, half, g, importance=2)), exact)
    spread = []
    for baseline in (True, False):
        made = sample(q, lambda g, b=baseline: importance_score_loss(q, log_p, half, g, 2, b))
        check(made, exact)
        spread.append(float(made.var(0).sum()))
    assert spread[0] < spread[1]


@pytest.mark.parametrize("way", ["pathwise", "score"])
def test_the_gradient_of_gammas_and_dirichlets_is_the_closed_form(way: str) -> None:
    """log p = c·z − d·eᶻ for gammas; Σ c_k log x_k for a Dirichlet: E z = ψ(a) − log b, E eᶻ = a/b,
    E log x_k = ψ(α_k) − ψ(Σ α), and entropies in the same functions.
    """
    estimate = score_loss if way == "score" else pathwise_loss
    c, d = torch.tensor([2.5, 0.4]).double(), torch.tensor([0.7, 1.6]).double()
    q = start(make_family("gamma", 2, torch.Generator()))
    assert isinstance(q, LogGammas)
    made = sample(q, lambda g: estimate(q, lambda z: z @ c - z.exp() @ d, SAMPLES, g))
    a, b = q.log_shape.exp(), q.log_rate.exp()
    mean, most = torch.digamma(a) - q.log_rate, a / b
    entropy = torch.lgamma(a) + a - a * torch.digamma(a)  # of log g
    check(made, gradient_of(-(c @ mean - d @ most + entropy.sum()), q))
    q = start(make_family("dirichlet", 2, torch.Generator()))
    assert isinstance(q, DirichletRatios)
    c = torch.tensor([2.0, 0.8, 1.3]).double()

    def log_shares(z: Tensor) -> Tensor:
        return torch.cat([z, torch.zeros(len(z), 1)], 1).log_softmax(1) @ c

    made = sample(q, lambda g: estimate(q, log_shares, SAMPLES, g))
    alpha = q.log_alpha.exp()
    mean = torch.digamma(alpha) - torch.digamma(alpha.sum())
    log_q = torch.lgamma(alpha.sum()) - torch.lgamma(alpha).sum() + alpha @ mean
    check(made, gradient_of(-(c @ mean - log_q), q))


def test_variances_are_in_the_order_of_the_theory() -> None:
    q = start(IndependentNormals(2))
    assert isinstance(q, IndependentNormals)
    S = 8

    def variance(estimate: Callable[[torch.Generator], tuple[Tensor, Tensor]]) -> float:
        return float(sample(q, estimate, 500).var(0).sum())

    # far from 0, so that the score has something to lose by
    def shifted(z: Tensor) -> Tensor:
        return log_joint(z) - 6

    def shifted_terms(z: Tensor) -> Terms:
        made = terms(z)
        return Terms(made.values - 2, made.touches)

    plain = variance(lambda g: score_loss(q, shifted, S, g, baseline=False))
    split = variance(lambda g: rao_blackwell_loss(q, shifted_terms, S, g, baseline=False))
    baseline = variance(lambda g: score_loss(q, shifted, S, g))
    both = variance(lambda g: rao_blackwell_loss(q, shifted_terms, S, g))
    path = variance(lambda g: pathwise_loss(q, shifted, S, g))
    assert path < both < baseline < plain
    assert both < split < plain


def test_the_bound_of_more_samples_is_higher_and_never_above_log_p() -> None:
    """log p = ½ hᵀP⁻¹h + ½ log |2πP⁻¹|; a bound of one sample is in closed form too."""
    q = start(IndependentNormals(2)).requires_grad_(False)
    assert isinstance(q, IndependentNormals)
    random = torch.Generator().manual_seed(3)
    log_p = 0.5 * H @ torch.linalg.solve(P, H) - 0.5 * torch.logdet(P / (2 * math.pi))
    bounds, errors = [], []
    with torch.no_grad():
        for K in (1, 3, 10, 50):
            S = 40_000
            z = q.draw(S * K, random)
            ratio = (log_joint(z) - q.log_prob(z)).view(S, K).logsumexp(1) - math.log(K)
            bounds.append(float(ratio.mean()))
            errors.append(float(ratio.std()) / S**0.5)
    variance = (2 * q.log_sd).exp()
    elbo = -0.5 * (P.diagonal() @ variance + q.mean @ P @ q.mean) + H @ q.mean
    elbo = elbo + q.log_sd.sum() + 1 + math.log(2 * math.pi)
    assert bounds[0] == pytest.approx(float(elbo), abs=5 * errors[0])
    for k in range(3):
        assert bounds[k + 1] - bounds[k] > 4 * (errors[k] + errors[k + 1])
    assert all(b <= float(log_p) + 4 * e for b, e in zip(bounds, errors, strict=True))
