"""The oracle of mixtures in several dimensions, against scipy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from fledge.exact.normal_mixture import (
    NormalMixture,
    bound_by_enumeration,
    complete_data_estimate,
    ppca_log_likelihood,
)

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(12, 2)))


def test_densities_are_scipys() -> None:
    mixture = complete_data_estimate(X, torch.from_numpy(RANDOM.dirichlet([1, 1], 12)), "full")
    for k in range(2):
        cov: Any = mixture.covariance[k].numpy()
        normal = multivariate_normal(mixture.mean[k].numpy(), cov)
        wanted = normal.logpdf(X.numpy()) + float(mixture.weight[k].log())
        np.testing.assert_allclose(mixture.joint(X)[:, k].numpy(), wanted, rtol=1e-12)


def test_known_shares_give_numpys_covariances() -> None:
    share = torch.eye(2, dtype=torch.float64)[torch.arange(12) % 2]
    estimate = complete_data_estimate(X, share, "full")
    own = X[::2].numpy()
    np.testing.assert_allclose(estimate.covariance[0].numpy(), np.cov(own.T, bias=True))
    round_one = complete_data_estimate(X, share, "spherical").covariance[0]
    assert float(round_one[0, 0]) == pytest.approx(own.var(0).mean())


@pytest.mark.parametrize("kind", ["full", "tied", "diagonal", "spherical"])
def test_a_step_never_lowers_the_likelihood(kind: str) -> None:
    eye = torch.eye(2, dtype=torch.float64)
    mixture = NormalMixture(torch.tensor([0.5, 0.5]).double(), X[:2], torch.stack([eye, eye]))
    rose = []
    for _ in range(6):
        rose.append(mixture.log_likelihood(X))
        mixture = mixture.em_step(X, kind)
    assert np.all(np.diff(rose) >= -1e-12)


def test_bound_and_gap_are_sums_over_points_too() -> None:
    """Where q is a product both are sums over points: another way to the same figures."""
    joint = torch.from_numpy(RANDOM.normal(size=(4, 3)))
    q = torch.from_numpy(RANDOM.dirichlet([1, 1, 1], 4))
    elbo, kl, log_p = bound_by_enumeration(joint, q)
    assert elbo == pytest.approx(float((q * (joint - q.log())).sum()))
    assert kl == pytest.approx(float((q * (q.log() - joint.log_softmax(1))).sum()))
    assert log_p == pytest.approx(float(joint.logsumexp(1).sum()))


def test_the_best_that_ppca_reaches_is_scikit_learns_score() -> None:
    x = RANDOM.normal(size=(200, 5)) @ RANDOM.normal(size=(5, 5))
    covariance = np.cov(x.T, bias=True)
    best = ppca_log_likelihood(torch.from_numpy(covariance), 2)
    # theirs divides by N − 1: the data is scaled for it to be N
    peer = PCA(2).fit(x * np.sqrt(199 / 200))
    scaled = peer.score(x * np.sqrt(199 / 200)) + 5 * np.log(np.sqrt(199 / 200))
    assert best == pytest.approx(scaled, abs=5e-2)
    model = NormalMixture(
        torch.ones(1).double(), torch.zeros(1, 5).double(), torch.from_numpy(covariance)[None]
    )
    assert best <= model.log_likelihood(torch.from_numpy(x - x.mean(0))) / 200
