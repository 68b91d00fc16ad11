"""Mixtures of factor analysers: never falling, one component is factor analysis, and as many
factors as columns a mixture of full normals.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.algorithms.latent.factor_em import FactorEM
from fledge.algorithms.latent.factor_mixture_em import FactorMixtureEM
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.errors import UserError
from fledge.rows.points import from_array
from fledge.sample.points import Block


def draw_factors(N: int, D: int, q: int, K: int, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    loading, centre = random.normal(size=(K, D, q)), 6 * random.normal(size=(K, D))
    z = np.arange(N) % K
    h, noise = random.normal(size=(N, q)), 0.3 * random.normal(size=(N, D))
    return torch.from_numpy(np.einsum("ndq,nq->nd", loading[z], h) + centre[z] + noise)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(6, 40), st.integers(1, 3), st.booleans())
def test_it_never_falls(seed: int, N: int, K: int, missing: bool) -> None:
    x = draw_factors(N, 4, 2, K, seed)
    if missing:
        lost = torch.from_numpy(np.random.default_rng(seed).random((N, 4)) < 0.2)
        lost[:, 0] = False
        lost[0] = False
        x[lost] = torch.nan
    weight = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, N))
    points = from_array(x, weight=weight)
    em = FactorMixtureEM(FactorMixtureEM.Settings(k=str(K), factors=2, starts=1))
    bounds = [em.update(Block(points, 0, 1))["elbo"] for _ in range(10)]
    assert np.isfinite(bounds).all()
    assert all(b >= a - 1e-8 for a, b in itertools.pairwise(bounds))


def test_one_component_is_factor_analysis() -> None:
    points = from_array(draw_factors(200, 5, 2, 1, 0))
    one = FactorMixtureEM(FactorMixtureEM.Settings(k="1", factors=2, tolerance=1e-7))
    alone = FactorEM(FactorEM.Settings(factors=2, tolerance=1e-7))
    for em in (one, alone):
        while not em.done:
            em.update(Block(points, 0, 1))
    assert one.log_likelihood(points) == pytest.approx(alone.log_likelihood(points), rel=1e-6)


def test_as_many_factors_as_columns_is_a_full_covariance() -> None:
    points = from_array(draw_factors(400, 3, 3, 2, 1))
    factors = FactorMixtureEM(FactorMixtureEM.Settings(k="2", factors=3, tolerance=1e-8))
    full = GaussianEM(GaussianEM.Settings(k="2", tolerance=1e-8))
    for em in (factors, full):
        while not em.done:
            em.update(Block(points, 0, 1))
    assert factors.log_likelihood(points) == pytest.approx(full.log_likelihood(points), rel=1e-3)


def test_it_finds_the_factors_that_made_the_points() -> None:
    """Its likelihood of fresh points is above that of a full covariance: it has fewer numbers."""
    x = draw_factors(300, 12, 1, 3, 2)
    train, fresh = from_array(x[:150]), from_array(x[150:])
    factors = FactorMixtureEM(FactorMixtureEM.Settings(k="3", factors=1))
    full = GaussianEM(GaussianEM.Settings(k="3"))
    for em in (factors, full):
        while not em.done:
            em.update(Block(train, 0, 1))
    assert factors.log_likelihood(fresh) > full.log_likelihood(fresh)
    assert factors.model is not None
    assert factors.model.count_parameters() == 3 * (12 + 12 + 12) + 2
    with pytest.raises(UserError, match="factors=13 of 12 columns"):
        FactorMixtureEM(FactorMixtureEM.Settings(k="3", factors=13)).begin(train)
