"""Families of q: densities that integrate to 1, draws that are of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from fledge.models.latent.gamma_families import DirichletRatios, LogGammas, slope_to_shape
from fledge.models.latent.variational_families import (
    FAMILIES,
    FamilyName,
    IndependentNormals,
    NormalsMixed,
    OneNormal,
    VariationalFamily,
    VariationalPosterior,
    make_family,
)

stats: Any = scipy_stats  # its stubs take a frozen normal for a discrete one


def make(name: FamilyName, width: int = 2) -> VariationalFamily:
    random = torch.Generator().manual_seed(1)
    q = make_family(name, width, random, components=3, layers=3, hidden=5)
    with torch.no_grad():
        for each in q.parameters():
            each += 0.4 * torch.randn(each.shape, generator=random, dtype=torch.float64)
    return q


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_density_integrates_to_one_and_the_draws_are_of_it(name: FamilyName) -> None:
    q = make(name)
    z = q.draw(4000, torch.Generator().manual_seed(2))
    middle, wide = z.mean(0), 9 * z.std(0) + 2
    lines = [torch.linspace(float(m - w), float(m + w), 801, dtype=torch.float64)
             for m, w in zip(middle, wide, strict=True)]  # fmt: skip
    grid = torch.cartesian_prod(*lines)
    cell = float((lines[0][1] - lines[0][0]) * (lines[1][1] - lines[1][0]))
    density = q.log_prob(grid).exp() * cell
    assert float(density.sum()) == pytest.approx(1, abs=2e-3)
    for d in range(2):  # a marginal by the grid, and the draws' by Kolmogorov and Smirnov
        order = grid[:, d].argsort(stable=True)
        level = density[order].cumsum(0).numpy()
        place = np.searchsorted(grid[order, d].numpy(), z[:, d].numpy(), side="right") - 1
        assert stats.kstest(level[place.clip(0)], "uniform").pvalue > 1e-5


def test_densities_are_scipys() -> None:
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one, many, mixed = make("normal"), make("independent"), make("mixture")
    assert isinstance(one, OneNormal)
    assert isinstance(many, IndependentNormals)
    assert isinstance(mixed, NormalsMixed)
    with torch.no_grad():
        root = one.root()
        want = stats.multivariate_normal(one.mean.numpy(), (root @ root.T).numpy()).logpdf(z)
        np.testing.assert_allclose(one.log_prob(z), want, rtol=1e-10)
        want = stats.norm(many.mean.numpy(), many.log_sd.exp().numpy()).logpdf(z.numpy()).sum(1)
        np.testing.assert_allclose(many.log_prob(z), want, rtol=1e-10)
        share = mixed.logits.softmax(0).numpy()
        want = sum(
            share[k] * stats.norm(mixed.mean[k].numpy(), mixed.log_sd[k].exp().numpy())
            .pdf(z.numpy()).prod(1)
            for k in range(3)
        )  # fmt: skip
        np.testing.assert_allclose(mixed.log_prob(z).exp(), want, rtol=1e-10)


@pytest.mark.parametrize("shape", [0.02, 0.3, 1.0, 4.0, 60.0, 3000.0])
def test_a_gamma_moves_with_its_shape_as_its_quantiles_do(shape: float) -> None:
    """From the far left tail to the far right, beside scipy's quantiles of two shapes apart."""
    level = np.array([1e-30, 1e-9, 1e-3, 0.1, 0.5, 0.9, 0.999])
    level = np.append(level[stats.gamma.ppf(level, shape) > 0], 1 - 1e-9)
    y = torch.from_numpy(np.log(stats.gamma.ppf(level, shape)))
    h = 1e-4 * shape
    ends = [np.log(stats.gamma.ppf(level, shape + side * h)) for side in (1, -1)]
    wanted = (ends[0] - ends[1]) / (2 * h)
    got = slope_to_shape(torch.full_like(y, shape), y)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=2e-6)


def test_gammas_and_dirichlets_are_scipys() -> None:
    q = make("dirichlet")
    assert isinstance(q, DirichletRatios)
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = torch.cat([z, torch.zeros(20, 1)], 1).softmax(1).numpy()
    with torch.no_grad():
        want = stats.dirichlet(q.log_alpha.exp().numpy()).logpdf(x.T) + np.log(x).sum(1)
        np.testing.assert_allclose(q.log_prob(z), want, rtol=1e-9)
        q = make("gamma")
        assert isinstance(q, LogGammas)
        a, scale = q.log_shape.exp().numpy(), (-q.log_rate).exp().numpy()
        want = (stats.gamma(a, scale=scale).logpdf(z.exp().numpy()) + z.numpy()).sum(1)
        np.testing.assert_allclose(q.log_prob(z), want, rtol=1e-9)


def test_what_a_mixture_cumulates_is_uniform() -> None:
    q = make("mixture", 3)
    assert isinstance(q, NormalsMixed)
    with torch.no_grad():
        level = q.cumulate(q.draw(3000, torch.Generator().manual_seed(4)))
    for i in range(3):
        assert stats.kstest(level[:, i].numpy(), "uniform").pvalue > 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_read_as_it_was_written(name: FamilyName) -> None:
    q = make(name)
    made = {"name": name, "width": 2, "components": 3, "layers": 3, "hidden": 5}
    posterior = VariationalPosterior(q, made, ("a", "b"))
    again = VariationalPosterior.restore(posterior.card(), posterior.tensors())
    z = torch.zeros(3, 2, dtype=torch.float64)
    assert torch.equal(posterior.log_prob(z), again.log_prob(z))
    assert again.names == ("a", "b")
