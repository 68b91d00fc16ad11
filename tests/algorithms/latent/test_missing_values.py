"""Points that lack values, under k-means, factors and a Bayesian mixture: densities are those of
the marginals, by scipy and by sums over a grid, and no step lowers its bound.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import fledge
from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.factor_em import FactorEM, PrincipalEM
from fledge.algorithms.latent.factor_missing import step_seen
from fledge.algorithms.latent.kmeans import KMeans
from fledge.models.latent.factors import Factors, Noise
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block
from tests.models.latent.problems import draw_points

stats = pytest.importorskip("scipy.stats")


def lose(x: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """Some values; the second point has none, the first has all."""
    lost = torch.from_numpy(np.random.default_rng(seed).random(x.shape) < share)
    lost[0], lost[1] = False, True
    return torch.where(lost, torch.nan, x)


def weigh(points: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).uniform(0.2, 2, points))


def climb(algorithm: KMeans | FactorEM | CoordinateAscent, points: Points, steps: int) -> list:
    algorithm.begin(points)
    rose = [algorithm.update(Block(points, 0, 1))["elbo"] for _ in range(steps)]
    assert np.isfinite(rose).all()
    assert np.diff(rose).min() >= -1e-9 * max(1, np.abs(rose).max())
    return rose


def draw_factors(kind: Noise) -> Factors:
    random = np.random.default_rng(2)
    noise = random.uniform(0.3, 1, 4) if kind == "fa" else np.full(4, 0.5)
    arrays = random.normal(size=4), random.normal(size=(4, 2)), noise
    return Factors(kind, *(torch.from_numpy(each) for each in arrays))


@pytest.mark.parametrize("kind", ["fa", "ppca"])
def test_factors_are_inferred_from_what_is_seen(kind: Noise) -> None:
    """log p by scipy's marginals; E[h | x] by the joint normal of h and what is seen."""
    model = draw_factors(kind)
    x = lose(2 * draw_points(30, 4, 3), 0.4, 4)
    W, mean = model.loading.numpy(), model.mean.numpy()
    whole = W @ W.T + np.diag(model.noise.numpy())
    log_p, h = model.log_prob(x).numpy(), model.infer(x).numpy()
    spread = model.infer_seen(x)[1].numpy()
    for n, row in enumerate(x.numpy()):
        seen = ~np.isnan(row)
        if not seen.any():
            assert log_p[n] == 0
            np.testing.assert_array_equal(h[n], 0)
            continue
        C = whole[np.ix_(seen, seen)]
        wanted = stats.multivariate_normal(mean[seen], C).logpdf(row[seen])
        assert log_p[n] == pytest.approx(wanted, rel=1e-11)
        gain = W[seen].T @ np.linalg.inv(C)
        np.testing.assert_allclose(h[n], gain @ (row - mean)[seen], atol=1e-11)
        np.testing.assert_allclose(spread[n], np.eye(2) - gain @ W[seen], atol=1e-11)


@pytest.mark.parametrize("kind", [FactorEM, PrincipalEM])
def test_a_step_over_what_is_seen_is_the_usual_one_where_all_is(kind: type[FactorEM]) -> None:
    """Two derivations: by each column's regression, and by the data's covariance."""
    x, weight = draw_points(80, 4, 6, groups=3), weigh(80)
    points = from_array(x, weight=weight)
    usual = kind(kind.Settings(factors=2, tolerance=0), seed=1)
    usual.begin(points)
    before = usual.model
    assert before is not None
    mean, loading, noise, density = step_seen(before, x, weight)
    elbo = usual.update(Block(points, 0, 1))["elbo"]
    assert usual.model is not None
    assert density / points.total == pytest.approx(elbo, rel=1e-12)
    np.testing.assert_allclose(mean, usual.model.mean, atol=1e-12)
    np.testing.assert_allclose(loading, usual.model.loading, rtol=1e-9)
    np.testing.assert_allclose(noise, usual.model.noise, rtol=1e-9)


@pytest.mark.parametrize("kind", [FactorEM, PrincipalEM])
@pytest.mark.parametrize("seed", range(4))
def test_factors_never_fall(kind: type[FactorEM], seed: int) -> None:
    x = lose(draw_points(40, 4, seed, groups=2), 0.3, seed)
    points = from_array(x, weight=weigh(40))
    algorithm = kind(kind.Settings(factors=1 + seed % 2, tolerance=0), seed=seed)
    rose = climb(algorithm, points, 30)
    assert algorithm.log_likelihood(points) / points.total >= rose[-1] - 1e-12


def test_as_many_factors_as_a_covariance_needs_are_a_normal() -> None:
    """Two factors and three noises reach every covariance of three columns near the data's: so the
    likelihood is that of one normal, by EM of another kind.
    """
    x = draw_points(200, 3, 8) @ torch.tensor(
        [[1.0, 0.6, 0.2], [0, 1, 0.5], [0, 0, 1]], dtype=torch.float64
    )
    seen = lose(x, 0.2, 9).numpy()
    factors = fledge.FactorAnalysis(2, tol=1e-10, max_iter=4_000).fit(seen)
    normal = fledge.GaussianMixture(1, tol=1e-10, max_iter=4_000).fit(seen)
    assert factors.score(seen) == pytest.approx(normal.score(seen), abs=1e-5)
    np.testing.assert_allclose(factors.mean_, normal.means_[0], atol=1e-3)


def test_kmeans_finds_the_best_of_all_assignments_of_what_is_seen() -> None:
    x = lose(draw_points(9, 2, 10, groups=2, far=1e4), 0.3, 11)
    values, weight = x.numpy(), weigh(9)
    w, best = weight.numpy(), np.inf
    for labels in product(range(2), repeat=9):
        square = 0.0
        for k, d in product(range(2), range(2)):
            own = (np.array(labels) == k) & ~np.isnan(values[:, d])
            if own.any():
                at = np.average(values[own, d], weights=w[own])
                square += float(w[own] @ (values[own, d] - at) ** 2)
        best = min(best, square)
    points = from_array(x, weight=weight)
    algorithm = KMeans(KMeans.Settings(k="2", tolerance=0, starts=20))
    climb(algorithm, points, 12)
    assert -2 * algorithm.log_likelihood(points) == pytest.approx(best, rel=1e-9)
    fitted = fledge.KMeans(2, n_init=20).fit(values, sample_weight=w)
    assert fitted.inertia_ == pytest.approx(best, rel=1e-9)
    each = np.nansum((values[:, None] - fitted.cluster_centers_) ** 2, 2)
    np.testing.assert_allclose(fitted.transform(values) ** 2, each, rtol=1e-6, atol=1e-6)


def test_a_bayesian_mixture_integrates_over_what_is_missing() -> None:
    """Its predictive density and exp E[log p(x, z)] are sums over a grid of the missing value."""
    x = draw_points(50, 2, 12, groups=2)
    grid = torch.linspace(-60, 60, 24_001, dtype=torch.float64)
    for kind in ("full", "diagonal"):
        settings = CoordinateAscent.Settings(k="3", covariance=kind, starts=1, tolerance=0)
        algorithm = CoordinateAscent(settings)
        climb(algorithm, from_array(lose(x, 0.3, 13), weight=weigh(50)), 10)
        assert algorithm.model is not None
        for d in range(2):
            row = x[2:3].clone()
            every = row.repeat(len(grid), 1)
            row[0, d], every[:, d] = torch.nan, grid
            wanted = float(algorithm.model.log_prob(every).exp().sum()) * 0.005
            assert float(algorithm.model.log_prob(row).exp()) == pytest.approx(wanted, rel=1e-3)
            joint = algorithm.model.expect_log_joint(every).exp().sum(0) * 0.005
            got = algorithm.model.expect_log_joint(row)[0].exp()
            np.testing.assert_allclose(got, joint, rtol=1e-9)


def test_a_cluster_is_found_though_a_third_is_missing() -> None:
    """Far-apart clusters: what each model says of a point is where it came from."""
    random = np.random.default_rng(14)
    kind = random.integers(0, 2, 200)
    x = np.where(kind[:, None] == 1, 8.0, -8.0) + random.normal(size=(200, 3))
    x[random.random(x.shape) < 0.3] = np.nan
    some = ~np.isnan(x).all(1)
    for estimator in (
        fledge.KMeans(2, random_state=0),
        fledge.BayesianGaussianMixture(2, random_state=0),
        fledge.FactorMixture(2, 1, random_state=0),
    ):
        label = estimator.fit(x).predict(x)[some]
        right = (label == kind[some]).mean()
        assert max(right, 1 - right) == 1
