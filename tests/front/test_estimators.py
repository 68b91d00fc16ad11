"""The estimators are scikit-learn's kind: they pass its own checks, give its answers, and work
without it.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fledge
from tests.cli.commands import environment

pytest.importorskip("sklearn")
from sklearn import cluster, decomposition
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fledge.front.estimators import FactorAnalysis, GaussianMixture, KMeans

IRIS: np.ndarray = load_iris(return_X_y=True)[0]  # pyright: ignore[reportAssignmentType]


@parametrize_with_checks([GaussianMixture(), KMeans(), FactorAnalysis()])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def test_a_mixture_answers_as_the_formulas_say() -> None:
    mixture = fledge.GaussianMixture(3, tol=1e-6, max_iter=500, random_state=0).fit(IRIS)
    r = mixture.predict_proba(IRIS)
    np.testing.assert_allclose(r.sum(1), 1)
    assert (mixture.predict(IRIS) == r.argmax(1)).all()
    # 3 × (4 + 10) + 2 free numbers
    score, p = mixture.score(IRIS), 44
    assert mixture.bic(IRIS) == pytest.approx(-2 * 150 * score + p * np.log(150))
    assert mixture.aic(IRIS) == pytest.approx(-2 * 150 * score + 2 * p)
    assert score >= mixture.lower_bound_ - 1e-12
    assert np.all(np.diff(mixture.lower_bounds_) >= -1e-10)
    x, component = mixture.sample(20_000)
    share = np.bincount(component, minlength=3) / 20_000
    np.testing.assert_allclose(share, mixture.weights_, atol=0.02)
    np.testing.assert_allclose(x.mean(0), IRIS.mean(0), atol=0.05)


def test_missing_values_are_taken() -> None:
    x = IRIS.copy()
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    mixture = fledge.GaussianMixture(2, random_state=0).fit(x)
    assert np.isfinite(mixture.score_samples(x)).all()


def test_k_means_ends_where_scikit_learns_does() -> None:
    ours = fledge.KMeans(3, random_state=0, tol=0).fit(IRIS)
    theirs = cluster.KMeans(3, n_init="auto", init=ours.cluster_centers_, random_state=0).fit(IRIS)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)
    assert ours.score(IRIS) == pytest.approx(-ours.inertia_)


def test_factor_analysis_ends_where_scikit_learns_does() -> None:
    """Of data that was made of two factors: on iris EM finds a likelier answer than theirs."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 2)) @ random.normal(size=(2, 8)) + random.normal(size=(400, 8))
    ours = fledge.FactorAnalysis(2, tol=1e-9).fit(x)
    theirs = decomposition.FactorAnalysis(2, tol=1e-9, max_iter=5000).fit(x)
    assert ours.score(x) == pytest.approx(theirs.score(x), abs=1e-5)
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), atol=1e-3)
    covariance = ours.components_.T @ ours.components_ + np.diag(ours.noise_variance_)
    np.testing.assert_allclose(covariance, theirs.get_covariance(), atol=1e-3)
    assert ours.transform(x).shape == (400, 2)


def test_a_grid_search_chooses_k_in_a_pipeline() -> None:
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 2]}, cv=3).fit(IRIS)
    assert search.best_params_["gaussianmixture__n_components"] in (1, 2)


def test_they_work_without_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import importlib.util as u
before = u.find_spec
u.find_spec = lambda name, *rest: None if name == "sklearn" else before(name, *rest)
import numpy as np, fledge
x = np.random.default_rng(0).normal(size=(50, 2))
m = fledge.GaussianMixture(2, random_state=1).fit(x)
assert m.get_params()["n_components"] == 2 and m.set_params(tol=0.1).tol == 0.1
print(m, m.predict(x).shape, m.bic(x) > 0)
for wrong in (lambda: m.predict(x[:, :1]), lambda: fledge.KMeans(2).predict(x),
              lambda: fledge.KMeans(2).fit(x * np.nan)):
    try:
        wrong()
    except ValueError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("GaussianMixture(n_components=2")
    assert "was fitted to 2" in said[1]
    assert "not fitted yet" in said[2]
    assert "no point has a value of x1" in said[3]
