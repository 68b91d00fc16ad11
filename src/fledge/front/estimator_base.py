"""The base of the estimators: scikit-learn's own where it is installed, else as much of it as they
need.
"""

from __future__ import annotations

import importlib.util
import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from fledge.errors import UserError
from fledge.rows.points import Points, check_weights, from_array

HAS_PEER = importlib.util.find_spec("sklearn") is not None


class Plain:
    """`get_params`, `set_params` and a repr, without scikit-learn."""

    n_features_in_: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Any:
        """Raises ValueError for a name that is no parameter."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"{name} is no parameter of {type(self).__name__}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"


if TYPE_CHECKING or not HAS_PEER:
    Parent = Plain
else:
    from sklearn.base import BaseEstimator as Parent


class Base(Parent):
    """What scikit-learn asks of an estimator beside its own methods."""

    _estimator_type: ClassVar[str] = ""
    _takes_missing: ClassVar[bool] = False
    random_state: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.estimator_type = self._estimator_type
        tags.input_tags.allow_nan = self._takes_missing
        if hasattr(self, "transform"):
            from sklearn.utils import TransformerTags

            tags.transformer_tags = TransformerTags()
        return tags

    def _convergence_warning(self) -> type[Warning]:
        if not HAS_PEER:
            return UserWarning
        from sklearn.exceptions import ConvergenceWarning

        return ConvergenceWarning


def read_points(
    estimator: Base, X: Any, weight: Any = None, *, fitting: bool = False, smallest: int = 1
) -> Points:
    """X as points: checked as scikit-learn checks it where that is installed.

    smallest: how few points there may be. Raises ValueError.
    """
    missing = estimator._takes_missing
    if HAS_PEER:
        from sklearn.utils.validation import _check_sample_weight, validate_data

        X = validate_data(
            estimator, X, reset=fitting, dtype=np.float64, order="C",
            ensure_min_samples=smallest if fitting else 1,
            ensure_all_finite="allow-nan" if missing else True,
        )  # fmt: skip
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
    else:
        X = np.ascontiguousarray(X, dtype=np.float64)
        _check_plainly(estimator, X, missing, fitting, smallest)
    x = torch.from_numpy(X if X.flags.writeable else X.copy())
    if weight is not None:
        weight = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float64))
        check_weights(weight, len(x), "X")
    if not fitting:  # a column without a value is no mistake here
        return Points(x, tuple(f"x{d + 1}" for d in range(x.shape[1])), source="X")
    try:
        return from_array(x, source="X", weight=weight)
    except UserError as error:  # as what scikit-learn's own checks refuse
        raise ValueError(str(error)) from None


def _check_plainly(
    estimator: Base, X: np.ndarray, missing: bool, fitting: bool, smallest: int
) -> None:
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X has shape {X.shape}: give a table of points, [N, D].")
    if np.isinf(X).any() or (not missing and np.isnan(X).any()):
        raise ValueError("X holds NaN or infinite values: fill them in.")
    if fitting:
        if len(X) < smallest:
            raise ValueError(f"X has {len(X)} point: give {smallest} or more.")
        estimator.n_features_in_ = X.shape[1]
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} columns, and {type(estimator).__name__} was fitted to "
            f"{estimator.n_features_in_}."
        )


def check_fitted(estimator: Any) -> None:
    """Raises scikit-learn's NotFittedError, or a ValueError without it."""
    if HAS_PEER:
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(estimator)
    elif not hasattr(estimator, "model_"):
        raise ValueError(f"{type(estimator).__name__} is not fitted yet: call fit(X) first.")


def seed_of(random_state: Any) -> int:
    """A seed of a number, of numpy's generators, or of none: then 0, for the same X the same
    answer.
    """
    if random_state is None:
        return 0
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(random_state)
