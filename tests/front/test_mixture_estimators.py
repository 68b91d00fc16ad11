"""Estimators of mixtures beside GaussianMixture pass scikit-learn's own checks, and answer as the
formulas, or scikit-learn's own, say.
"""

from __future__ import annotations

import numpy as np
import pytest

import fledge

pytest.importorskip("sklearn")
from sklearn import decomposition, mixture
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

from fledge.front.estimators import ProbabilisticPCA
from fledge.front.mixture_estimators import (
    BayesianGaussianMixture,
    BernoulliMixture,
    CategoricalMixture,
    FactorMixture,
)

IRIS: np.ndarray = load_iris(return_X_y=True)[0]  # pyright: ignore[reportAssignmentType]


@parametrize_with_checks(
    [
        ProbabilisticPCA(), BayesianGaussianMixture(), FactorMixture(), CategoricalMixture(),
        BernoulliMixture(),
    ]
)  # fmt: skip
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def test_probabilistic_pca_is_the_eigenvalues_answer() -> None:
    ours = fledge.ProbabilisticPCA(2, tol=1e-12, max_iter=20_000).fit(IRIS)
    theirs = np.linalg.eigh(np.cov(IRIS.T))[1][:, 2:]
    value = np.linalg.eigvalsh(np.cov(IRIS.T, bias=True))
    assert ours.noise_variance_ == pytest.approx(value[:2].mean(), rel=1e-4)
    # the same plane: what each projects to nothing, the other does
    axes = np.linalg.qr(ours.components_.T)[0]
    np.testing.assert_allclose(axes @ (axes.T @ theirs), theirs, atol=1e-4)


def test_a_bayesian_mixture_leaves_out_what_it_does_not_need() -> None:
    ours = fledge.BayesianGaussianMixture(
        8, weight_concentration_prior=1e-2, tol=1e-6, max_iter=500, n_init=3, random_state=0
    ).fit(IRIS)
    assert 2 <= int((ours.weights_ > 0.02).sum()) <= 4
    one = fledge.BayesianGaussianMixture(1, tol=1e-9).fit(IRIS)
    theirs = mixture.BayesianGaussianMixture(n_components=1, reg_covar=0).fit(IRIS)
    np.testing.assert_allclose(one.means_, theirs.means_, rtol=1e-6)
    # our prior keeps a direction of its own for columns that say the same
    np.testing.assert_allclose(one.covariances_, theirs.covariances_, rtol=1e-3)


def test_a_mixture_of_factor_analysers_of_one_is_factor_analysis() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 2)) @ random.normal(size=(2, 8)) + random.normal(size=(400, 8))
    ours = fledge.FactorMixture(1, 2, tol=1e-9, max_iter=5000).fit(x)
    theirs = decomposition.FactorAnalysis(2, tol=1e-9, max_iter=5000).fit(x)
    assert ours.score(x) == pytest.approx(theirs.score(x), abs=1e-4)
    several = fledge.FactorMixture(2, 1, random_state=0).fit(IRIS)
    assert several.bic(IRIS) < fledge.FactorMixture(1, 1).fit(IRIS).bic(IRIS)
    assert several.sample(5)[0].shape == (5, 4)


def test_latent_classes_of_ones_and_zeros_are_found_again() -> None:
    random = np.random.default_rng(0)
    chance = np.array([[0.9, 0.9, 0.8, 0.1, 0.1, 0.5], [0.1, 0.2, 0.1, 0.9, 0.8, 0.5]])
    kind = random.random(4000) < 0.3
    x = (random.random((4000, 6)) < chance[kind.astype(int)]).astype(float)
    ours = fledge.BernoulliMixture(2, smoothing=0, tol=1e-9, random_state=0).fit(x)
    order = np.argsort(-ours.weights_)
    np.testing.assert_allclose(ours.weights_[order], [0.7, 0.3], atol=0.03)
    np.testing.assert_allclose(ours.means_[order], chance, atol=0.06)
    # log p(x) = log Σ_k π Π θ^x (1 − θ)^(1 − x), written out
    each = ours.means_[:, None] ** x[:5] * (1 - ours.means_[:, None]) ** (1 - x[:5])
    wanted = np.log(ours.weights_ @ each.prod(2))
    np.testing.assert_allclose(ours.score_samples(x[:5]), wanted, rtol=1e-9)
    words = np.where(x > 0, 7.0, -2.0)  # any two values are categories
    same = fledge.CategoricalMixture(2, smoothing=0, tol=1e-9, random_state=0).fit(words)
    np.testing.assert_allclose(same.score_samples(words), ours.score_samples(x), rtol=1e-6)
    drawn, _ = same.sample(100)
    assert set(np.unique(drawn)) == {-2.0, 7.0}


def test_what_was_not_seen_is_summed_over() -> None:
    random = np.random.default_rng(1)
    x = random.integers(0, 3, (200, 3)).astype(float)
    fitted = fledge.CategoricalMixture(2, random_state=0).fit(x)
    row = x[:1].copy()
    row[0, 1] = 99  # no category
    every = np.repeat(row, 3, 0)
    every[:, 1] = [0, 1, 2]
    marginal = np.log(np.exp(fitted.score_samples(every)).sum())
    assert fitted.score_samples(row)[0] == pytest.approx(marginal, rel=1e-12)
    row[0, 1] = np.nan
    assert fitted.score_samples(row)[0] == pytest.approx(marginal, rel=1e-12)
