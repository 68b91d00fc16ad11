"""Estimators as scikit-learn's are: `fit(X)`, then `predict`, `score_samples`, `sample`, `bic`; in
a Pipeline or a GridSearchCV where scikit-learn is installed, and without it as well.

    mixture = fledge.GaussianMixture(8, random_state=0).fit(X)
    mixture.predict_proba(X), mixture.bic(X), mixture.means_
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import torch

from fledge.algorithms.latent.factor_em import FactorEM, PrincipalEM
from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.kmeans import KMeans as KMeansEM
from fledge.front.estimator_base import read_points, seed_of
from fledge.front.latent_estimator import Latent, OfComponents
from fledge.models.latent.gaussian_mixture import GaussianMixture as Mixture


class GaussianMixture(OfComponents):
    """A mixture of normal distributions by EM (Bishop 2006, §9.2). X may have missing values (NaN).

    covariance_type: full, tied, diag or spherical. n_init: starts, of which the best goes on.
    floor: the least variance along any direction, as a share of the data's there.
    precision: double; or mixed, which multiplies in single precision while the bound still rises.
    weights_init, means_init, precisions_init: all three, a start in place of k-means++.
    """

    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        floor: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        precision: str = "double",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.covariance_type = n_components, covariance_type
        self.tol, self.floor, self.max_iter, self.n_init = tol, floor, max_iter, n_init
        self.precision = precision
        self.weights_init, self.means_init = weights_init, means_init
        self.precisions_init, self.random_state = precisions_init, random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """X: [N, D]. sample_weight: [N], how often each counts. y is not looked at."""
        points = read_points(self, X, sample_weight, fitting=True, smallest=2)
        kind: Any = {"diag": "diagonal"}.get(self.covariance_type, self.covariance_type)
        settings = GaussianEM.Settings(
            k=str(self.n_components), covariance=kind, tolerance=self.tol, floor=self.floor,
            starts=self.n_init, precision=cast(Any, self.precision),
        )  # fmt: skip
        algorithm = GaussianEM(settings, seed=seed_of(self.random_state))
        algorithm.begin(points, self._first(kind))
        self._climb(algorithm, points)
        self.weights_, self.means_ = self.model_.weight.numpy(), self.model_.mean.numpy()
        self.covariances_ = self.model_.covariance.numpy()
        return self

    def _first(self, kind: Any) -> Mixture | None:
        given = (self.weights_init, self.means_init, self.precisions_init)
        if any(each is None for each in given):
            return None
        weight, mean, precision = (torch.as_tensor(np.asarray(each)).double() for each in given)
        inverse = torch.linalg.inv if kind in ("full", "tied") else torch.reciprocal
        return Mixture(kind, weight, mean, inverse(precision))


class KMeans(Latent):
    """k-means by Lloyd's steps from k-means++. X may have missing values (NaN): distances are over
    the columns that a point has, and `transform` gives these, not stretched to all columns.
    """

    _estimator_type: ClassVar[str] = "clusterer"
    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 4,
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_clusters, self.n_init, self.max_iter = n_clusters, n_init, max_iter
        self.tol, self.random_state = tol, random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """X: [N, D]. sample_weight: [N]. y is not looked at."""
        points = read_points(self, X, sample_weight, fitting=True)
        settings = KMeansEM.Settings(k=str(self.n_clusters), tolerance=self.tol, starts=self.n_init)
        algorithm = KMeansEM(settings, seed=seed_of(self.random_state))
        algorithm.begin(points)
        self._climb(algorithm, points)
        self.cluster_centers_ = self.model_.mean.numpy()
        self.labels_ = self.model_.predict(points.x).numpy().astype(np.int32)
        self.inertia_ = -2 * algorithm.log_likelihood(points)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The nearest centre.  [N]"""
        x = self._read(X)
        return self.model_.predict(x).numpy().astype(np.int32)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        return self.fit(X, sample_weight=sample_weight).labels_

    def transform(self, X: Any) -> np.ndarray:
        """Distances to the centres.  [N, K]"""
        x = self._read(X)
        return self.model_.square_distance(x).sqrt().numpy()

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: Any, y: Any = None) -> float:
        """−Σ of squared distances to the nearest centre."""
        return 2 * float(self.score_samples(X).sum())


class FactorAnalysis(Latent):
    """x = W h + μ + ε with noise of its own for every column, by EM (Bishop 2006, §12.2.4). X may
    have missing values (NaN), which are integrated out.
    """

    _estimator_type: ClassVar[str] = "density_estimator"
    _algorithm: ClassVar[type[FactorEM]] = FactorEM
    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        tol: float = 1e-7,
        max_iter: int = 5000,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.tol = n_components, tol
        self.max_iter, self.random_state = max_iter, random_state

    def fit(self, X: Any, y: Any = None) -> FactorAnalysis:
        """X: [N, D]. y is not looked at."""
        points = read_points(self, X, fitting=True, smallest=2)
        settings = FactorEM.Settings(factors=self.n_components, tolerance=self.tol)
        algorithm = self._algorithm(settings, seed=seed_of(self.random_state))
        algorithm.begin(points)
        self._climb(algorithm, points)
        self.mean_, self.noise_variance_ = self.model_.mean.numpy(), self.model_.noise.numpy()
        self.components_ = self.model_.loading.T.numpy()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """E[h | x].  [N, q]"""
        x = self._read(X)
        return self.model_.infer(x).numpy()

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        return self.fit(X).transform(X)


class ProbabilisticPCA(FactorAnalysis):
    """x = W h + μ + ε with one noise variance for all columns, by EM (Tipping & Bishop 1999).

    components_ span what the first principal axes span; noise_variance_ is one number.
    """

    _algorithm: ClassVar[type[FactorEM]] = PrincipalEM

    def fit(self, X: Any, y: Any = None) -> ProbabilisticPCA:
        """X: [N, D]. y is not looked at."""
        super().fit(X)
        self.noise_variance_ = float(self.model_.noise[0])
        return self
