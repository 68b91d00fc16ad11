"""Estimators of mixtures beside GaussianMixture: Bayesian, of factor analysers, of categories and
of Bernoullis.

    mixture = fledge.BayesianGaussianMixture(10, random_state=0).fit(X)
    mixture.predict(X), mixture.weights_
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.discrete_em import DiscreteEM
from fledge.algorithms.latent.factor_mixture_em import FactorMixtureEM
from fledge.front.estimator_base import check_fitted, read_points, seed_of
from fledge.front.latent_estimator import OfComponents
from fledge.rows.points import Points, as_levels

_PRIORS = {"dirichlet_process": "process", "dirichlet_distribution": "dirichlet"}


class BayesianGaussianMixture(OfComponents):
    """A posterior over a mixture of normals, by coordinate ascent (Bishop 2006, §10.2). Components
    that X does not need keep their prior: n_components is only the most there can be. X may have
    missing values (NaN), which are integrated out.

    covariance_type: full or diag. weight_concentration_prior_type: dirichlet_process or
    dirichlet_distribution. The priors' defaults are scikit-learn's. score_samples: of mixtures of
    Student's t, as wide as what is not known.
    """

    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        degrees_of_freedom_prior: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.covariance_type = n_components, covariance_type
        self.tol, self.max_iter, self.n_init = tol, max_iter, n_init
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BayesianGaussianMixture:
        """X: [N, D]. sample_weight: [N], how often each counts. y is not looked at."""
        points = read_points(self, X, sample_weight, fitting=True, smallest=2)
        kind: Any = {"diag": "diagonal"}.get(self.covariance_type, self.covariance_type)
        given = self.weight_concentration_prior_type
        mean_precision = self.mean_precision_prior
        settings = CoordinateAscent.Settings(
            k=str(self.n_components), covariance=kind, tolerance=self.tol, starts=self.n_init,
            prior=cast(Any, _PRIORS.get(given, given)),
            concentration=self.weight_concentration_prior,
            mean_precision=1.0 if mean_precision is None else mean_precision,
            degrees=self.degrees_of_freedom_prior,
        )  # fmt: skip
        algorithm = CoordinateAscent(settings, seed=seed_of(self.random_state))
        algorithm.begin(points)
        self._climb(algorithm, points)
        self.weights_, self.means_ = self.model_.weight.numpy(), self.model_.mean.numpy()
        self.covariances_ = self.model_.expected_mixture().covariance.numpy()
        return self


class FactorMixture(OfComponents):
    """A mixture of factor analysers by EM (Ghahramani & Hinton 1996): of many columns, between
    diagonal and full covariances. n_factors: of each component. X may have missing values (NaN).
    """

    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        n_factors: int = 1,
        *,
        tol: float = 1e-4,
        max_iter: int = 500,
        n_init: int = 1,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.n_factors = n_components, n_factors
        self.tol, self.max_iter, self.n_init = tol, max_iter, n_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> FactorMixture:
        """X: [N, D]. y is not looked at."""
        points = read_points(self, X, fitting=True, smallest=2)
        settings = FactorMixtureEM.Settings(
            k=str(self.n_components), factors=self.n_factors, tolerance=self.tol,
            starts=self.n_init,
        )  # fmt: skip
        algorithm = FactorMixtureEM(settings, seed=seed_of(self.random_state))
        algorithm.begin(points)
        self._climb(algorithm, points)
        self.weights_, self.means_ = self.model_.weight.numpy(), self.model_.mean.numpy()
        self.components_ = self.model_.loading.mT.numpy()
        self.noise_variance_ = self.model_.noise.numpy()
        return self


class CategoricalMixture(OfComponents):
    """A mixture of categorical distributions by EM: latent classes. Every value of a column is a
    category; NaN, and a value that was not in the X of `fit`, is summed over.

    smoothing: imagined counts of every value in every component. categories_: of each column.
    """

    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        smoothing: float = 0.01,
        tol: float = 1e-5,
        max_iter: int = 500,
        n_init: int = 4,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.smoothing = n_components, smoothing
        self.tol, self.max_iter, self.n_init = tol, max_iter, n_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> CategoricalMixture:
        """X: [N, D]. sample_weight: [N], how often each counts. y is not looked at."""
        points = read_points(self, X, sample_weight, fitting=True)
        self.categories_ = [
            column[~column.isnan()].unique().numpy() for column in points.x.unbind(1)
        ]
        return self._climb_categories(as_levels(points))

    def _climb_categories(self, points: Points) -> Any:
        settings = DiscreteEM.Settings(
            k=str(self.n_components), smoothing=self.smoothing, tolerance=self.tol,
            starts=self.n_init,
        )  # fmt: skip
        algorithm = DiscreteEM(settings, seed=seed_of(self.random_state))
        algorithm.begin(points)
        self._climb(algorithm, points)
        self.weights_ = self.model_.weight.numpy()
        sizes = [len(each) for each in self.model_.levels]
        self.probabilities_ = [each.numpy() for each in self.model_.chance.split(sizes, 1)]
        return self

    def _read(self, X: Any) -> Tensor:
        check_fitted(self)
        x = read_points(self, X).x
        codes = torch.full_like(x, torch.nan)
        for d, values in enumerate(map(torch.from_numpy, self.categories_)):
            place = torch.searchsorted(values, x[:, d].contiguous()).clamp_max(len(values) - 1)
            known = values[place] == x[:, d]
            codes[known, d] = place[known].double()
        return codes

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Points, and the component of each."""
        codes, component = super().sample(n_samples)
        columns = zip(self.categories_, codes.T.astype(np.int64), strict=True)
        return np.stack([values[code] for values, code in columns], 1), component


class BernoulliMixture(CategoricalMixture):
    """A mixture of Bernoullis by EM (Bishop 2006, §9.3.3): every column is 1 above `binarize` and 0
    elsewhere. means_: [K, D], the chance of a 1.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        binarize: float = 0.0,
        smoothing: float = 0.01,
        tol: float = 1e-5,
        max_iter: int = 500,
        n_init: int = 4,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            n_components, smoothing=smoothing, tol=tol, max_iter=max_iter, n_init=n_init,
            random_state=random_state,
        )  # fmt: skip
        self.binarize = binarize

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BernoulliMixture:
        """X: [N, D]. sample_weight: [N], how often each counts. y is not looked at."""
        points = read_points(self, X, sample_weight, fitting=True)
        self.categories_ = [np.array([0.0, 1.0])] * points.width
        levels = (("0", "1"),) * points.width
        self._climb_categories(replace(points, x=self._cut(points.x), levels=levels))
        self.means_ = np.stack([each[:, 1] for each in self.probabilities_], 1)
        return self

    def _cut(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), torch.nan, (x > self.binarize).double())

    def _read(self, X: Any) -> Tensor:
        check_fitted(self)
        return self._cut(read_points(self, X).x)
