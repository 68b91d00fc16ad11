"""What estimators of something unseen have in common: EM until it stands, the likelihood of what
was fitted, and of a mixture its components.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.latent.choice_of_k import bic
from fledge.front.estimator_base import Base, check_fitted, read_points, seed_of
from fledge.sample.points import Block


class Latent(Base):
    """What all have: EM until the bound stands, and the likelihood of what was fitted.

    lower_bound_: nats a point before the last M-step, as scikit-learn's is. lower_bounds_: of every
    step. n_iter_, converged_: how many there were, and whether the last raised it by less than tol.
    """

    max_iter: int
    tol: float
    model_: Any

    def _climb(self, algorithm: Any, points: Any) -> None:
        """EM until it stands.  Warns where it does not."""
        self.lower_bounds_ = []
        for _ in range(self.max_iter):
            self.lower_bounds_.append(algorithm.update(Block(points, 0, 1))["elbo"])
            if algorithm.done:
                break
        self.n_iter_, self.converged_ = len(self.lower_bounds_), bool(algorithm.done)
        self.lower_bound_, self.model_ = self.lower_bounds_[-1], algorithm.model
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} had not converged after max_iter={self.max_iter} steps: "
                "give more, or a larger tol.",
                self._convergence_warning(),
                stacklevel=3,
            )

    def _read(self, X: Any) -> Tensor:
        check_fitted(self)
        return read_points(self, X).x

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x), in nats.  [N, D] -> [N]"""
        x = self._read(X)
        return self.model_.log_prob(x).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log p(x)."""
        return float(self.score_samples(X).mean())

    def bic(self, X: Any) -> float:
        """−2 log p(X) + p log N; the least is best."""
        each = self.score_samples(X)
        return bic(float(each.sum()), self.model_.count_parameters(), len(each))

    def aic(self, X: Any) -> float:
        """−2 log p(X) + 2 p."""
        return -2 * float(self.score_samples(X).sum()) + 2 * self.model_.count_parameters()

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Points, and what was not seen of each: its component, or its factors."""
        check_fitted(self)
        generator = torch.Generator().manual_seed(seed_of(self.random_state))
        x, hidden = self.model_.sample(int(n_samples), generator)
        return x.numpy(), hidden.numpy()


class OfComponents(Latent):
    """A mixture: which component a point is of."""

    _estimator_type: ClassVar[str] = "density_estimator"

    def fit(self, X: Any, y: Any = None) -> Any:
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """The component that each point is likeliest of.  [N]"""
        x = self._read(X)
        return self.model_.predict(x).numpy()

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        return self.fit(X).predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(component | x).  [N, K]"""
        x = self._read(X)
        return self.model_.responsibility(x).numpy()
