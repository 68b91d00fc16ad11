"""Estimators of sequences: `fit(X, lengths)`, then what was not seen at every step.

    chain = fledge.HiddenMarkovModel(3, random_state=0).fit(X, lengths)
    chain.predict(X, lengths), chain.predict_proba(X, lengths), chain.bic(X, lengths)

X is one sequence after the other, `lengths` how long each is; without them all of it is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fledge.algorithms.latent.baum_welch import BaumWelch
from fledge.algorithms.latent.choice_of_k import bic
from fledge.algorithms.latent.kalman_em import KalmanEM
from fledge.front.estimator_base import check_fitted, read_points, seed_of
from fledge.front.latent_estimator import Latent
from fledge.models.latent.emissions import NormalEmission, SymbolEmission
from fledge.models.latent.hidden_markov import HiddenMarkov, check_distribution, read_lengths
from fledge.rows.sequences import Sequences

Lengths = Sequence[int] | np.ndarray | None


class OfSequences(Latent):
    """What both have."""

    def score_samples(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """log p of every sequence, in nats.  -> [S]"""
        x = self._read(X)
        return self.model_.log_prob(x, as_lengths(x, lengths)).numpy()

    def score(self, X: Any, y: Any = None, lengths: Lengths = None) -> float:
        """log p of all sequences, in nats a step."""
        return float(self.score_samples(X, lengths).sum()) / len(X)

    def bic(self, X: Any, lengths: Lengths = None) -> float:
        """−2 log p(X) + p log N of N steps; the least is best."""
        whole = float(self.score_samples(X, lengths).sum())
        return bic(whole, self.model_.count_parameters(), len(X))

    def aic(self, X: Any, lengths: Lengths = None) -> float:
        """−2 log p(X) + 2 p."""
        whole = float(self.score_samples(X, lengths).sum())
        return -2 * whole + 2 * self.model_.count_parameters()


def as_lengths(x: Tensor, lengths: Lengths) -> list[int]:
    return read_lengths(len(x), None if lengths is None else [int(each) for each in lengths])


class HiddenMarkovModel(OfSequences):
    """A hidden Markov model by Baum–Welch (Rabiner 1989).

    emission: normal, X [N, D]; or symbols, X [N] or [N, 1] of whole numbers 0 … n_symbols − 1,
    n_symbols by default one more than the largest. Numbers may be missing (NaN): they are
    integrated out, and a step without any says nothing. covariance_type: full, tied, diag or
    spherical, of the n_mix normals of a state. floor: the least variance along any direction, as a
    share of the data's. n_init: starts, of which the best goes on.
    """

    _estimator_type: ClassVar[str] = "density_estimator"
    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        emission: str = "normal",
        covariance_type: str = "full",
        n_mix: int = 1,
        n_symbols: int | None = None,
        tol: float = 1e-4,
        floor: float = 1e-6,
        max_iter: int = 200,
        n_init: int = 1,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.emission = n_components, emission
        self.covariance_type, self.n_mix, self.n_symbols = covariance_type, n_mix, n_symbols
        self.tol, self.floor, self.max_iter = tol, floor, max_iter
        self.n_init, self.random_state = n_init, random_state

    def fit(self, X: Any, y: Any = None, lengths: Lengths = None) -> HiddenMarkovModel:
        """X: all sequences. lengths: of each. y is not looked at."""
        kind: Any = {"diag": "diagonal"}.get(self.covariance_type, self.covariance_type)
        k: Any = self.n_components
        settings = BaumWelch.Settings(
            k=k, covariance=kind, parts=self.n_mix, floor=self.floor,
            tolerance=self.tol, starts=self.n_init,
        )  # fmt: skip
        algorithm = BaumWelch(settings, seed=seed_of(self.random_state))
        sequences = self._as_sequences(X, lengths)
        algorithm.begin(sequences)
        self._climb(algorithm, sequences)
        self._name_parameters()
        return self

    def _as_sequences(self, X: Any, lengths: Lengths) -> Sequences:
        x = self._read(X, fitting=True)
        names: tuple[str, ...] = ()
        if x.ndim == 1:
            names = tuple(map(str, range(self.n_symbols or int(x.max()) + 1)))
            if int(x.min()) < 0 or int(x.max()) >= len(names):
                raise ValueError(
                    f"X has symbols {int(x.min())} to {int(x.max())}: give 0 to {len(names) - 1}, "
                    "or a larger n_symbols."
                )
        columns = tuple(f"x{d + 1}" for d in range(1 if x.ndim == 1 else x.shape[1]))
        return Sequences(x, tuple(as_lengths(x, lengths)), columns, names, source="X")

    def _read(self, X: Any, fitting: bool = False) -> Tensor:
        if not fitting:
            check_fitted(self)
        if self.emission == "normal":
            return read_points(self, X, fitting=fitting, smallest=2).x
        if self.emission != "symbols":
            raise ValueError(f"emission={self.emission!r} was given: give normal or symbols.")
        symbols = np.asarray(X)
        if symbols.ndim == 2 and symbols.shape[1] == 1:
            symbols = symbols[:, 0]
        if symbols.ndim != 1 or not len(symbols) or not np.all(symbols == np.floor(symbols)):
            raise ValueError(
                f"X of emission=symbols has shape {symbols.shape} or is not of whole numbers: give "
                "[N] of 0, 1, …"
            )
        return torch.from_numpy(symbols.astype(np.int64))

    def _name_parameters(self) -> None:
        model: HiddenMarkov = self.model_
        self.startprob_, self.transmat_ = model.start.numpy(), model.transition.numpy()
        if isinstance(model.emission, SymbolEmission):
            self.emissionprob_ = model.emission.probability.numpy()
        elif isinstance(model.emission, NormalEmission):
            mixture = model.emission.mixture
            self.means_, self.covariances_ = mixture.mean.numpy(), mixture.covariance.numpy()
            self.weights_ = mixture.weight.view(model.states, -1).numpy()

    def set_parameters(self, startprob: Any, transmat: Any) -> HiddenMarkovModel:
        """The same model with another chain. Raises UserError where a row does not sum to 1."""
        check_fitted(self)
        start, transition = (
            check_distribution(torch.as_tensor(np.asarray(each, dtype=np.float64)), name)
            for each, name in ((startprob, "startprob"), (transmat, "transmat"))
        )
        self.model_ = HiddenMarkov(start, transition, self.model_.emission)
        self._name_parameters()
        return self

    def predict(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """The likeliest path of states (Viterbi).  [N]"""
        x = self._read(X)
        return self.model_.predict(x, as_lengths(x, lengths)).numpy()

    def predict_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """p(state | all of its sequence).  [N, K]"""
        x = self._read(X)
        return self.model_.responsibility(x, as_lengths(x, lengths)).numpy()

    def sample_paths(self, X: Any, n_paths: int = 1) -> np.ndarray:
        """Paths of states of one sequence, drawn from their posterior.  [n_paths, N]"""
        x = self._read(X)
        generator = torch.Generator().manual_seed(seed_of(self.random_state))
        return self.model_.draw_paths(x, int(n_paths), generator).numpy()


class KalmanFilter(OfSequences):
    """A linear-Gaussian state space by EM (Shumway & Stoffer 1982): a state of n_components numbers
    that moves, and a noisy look at it at every step.

    X may lack values (NaN), whole steps too. noise: diagonal or full. noise_floor: the least noise
    variance, as a share of the data's.
    """

    _estimator_type: ClassVar[str] = "density_estimator"
    _takes_missing: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        noise: str = "diagonal",
        noise_floor: float = 1e-6,
        tol: float = 1e-5,
        max_iter: int = 500,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.noise, self.noise_floor = n_components, noise, noise_floor
        self.tol, self.max_iter, self.random_state = tol, max_iter, random_state

    def fit(self, X: Any, y: Any = None, lengths: Lengths = None) -> KalmanFilter:
        """X: all sequences, [N, D]. lengths: of each. y is not looked at."""
        noise: Any = self.noise
        settings = KalmanEM.Settings(
            state_size=self.n_components, noise=noise, noise_floor=self.noise_floor,
            tolerance=self.tol,
        )  # fmt: skip
        x = read_points(self, X, fitting=True, smallest=self.n_components + 1).x
        columns = tuple(f"x{d + 1}" for d in range(x.shape[1]))
        sequences = Sequences(x, tuple(as_lengths(x, lengths)), columns, source="X")
        algorithm = KalmanEM(settings, seed=seed_of(self.random_state))
        algorithm.begin(sequences)
        self._climb(algorithm, sequences)
        self.transition_, self.drift_ = self.model_.transition.numpy(), self.model_.drift.numpy()
        self.loading_, self.offset_ = self.model_.loading.numpy(), self.model_.offset.numpy()
        self.noise_ = self.model_.noise.numpy()
        return self

    def transform(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """E[state | all of its sequence], by the smoother.  [N, n]"""
        return self.smooth(X, lengths)[0]

    def fit_transform(self, X: Any, y: Any = None, lengths: Lengths = None) -> np.ndarray:
        return self.fit(X, lengths=lengths).transform(X, lengths)

    def smooth(self, X: Any, lengths: Lengths = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the state, given all of its sequence.  [N, n], [N, n, n]"""
        x = self._read(X)
        mean, covariance = self.model_.infer(x, as_lengths(x, lengths))
        return mean.numpy(), covariance.numpy()

    def filter(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """E[state | its sequence up to this step].  [N, n]"""
        x = self._read(X)
        return self.model_.filter(x, as_lengths(x, lengths)).numpy()
