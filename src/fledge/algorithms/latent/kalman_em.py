"""EM for a linear-Gaussian state space: where the state was, by the Kalman filter and smoother,
then the motion, the loading and the noises that are likeliest under that.

sample: all sequences.  score: log p(x, z).  weigh: p(z_t | x) and p(z_t, z_{t+1} | x), normal.
fit: closed form, two regressions. Shumway & Stoffer 1982, eqs. 9–14; Ghahramani & Hinton 1996,
eqs. 14–26.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from fledge.algorithms.latent.gaussian_m_step import raise_to_floor
from fledge.algorithms.latent.sequence_settings import SequenceSettings
from fledge.algorithms.latent.state_starts import begin_states, fill_between, list_lags
from fledge.errors import UserError
from fledge.models.latent.coordinates import measure_moments, whiten
from fledge.models.latent.expected_observations import (
    ExpectedObservations,
    as_they_are,
    expect_missing,
)
from fledge.models.latent.kalman import Smoothed, smooth_points
from fledge.models.latent.kalman_missing import smooth_missing
from fledge.models.latent.state_space import StateSpace
from fledge.models.latent.step_order import StepOrder, order_steps
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from fledge.stopwatch import Stopwatch

TRIAL_STEPS = 8  # of EM by which one start is compared with another
LEAST_DRIFT = 1e-9  # variance of the state's motion and start; its own scale begins at 1


class KalmanEM:
    """`elbo` of a step is taken before its M-step, where the posterior is exact: the log-likelihood
    of the model before, in nats a step of the sequences.
    """

    class Settings(SequenceSettings):
        """Of a linear-Gaussian state space."""

        state_size: int = Field(default=2, ge=1, le=1_000, description="numbers of the state")
        noise: Literal["diagonal", "full"] = Field(
            default="diagonal", description="covariance of the noise of an observation"
        )
        noise_floor: float = Field(
            default=1e-6,
            gt=0,
            lt=1,
            description="the least noise variance, as a share of the data's",
        )

        def check_points(self, points: Any) -> None:
            if points.x.ndim == 1:
                raise UserError(
                    f"{points.source} is of symbols, and a Kalman filter is of numbers: give "
                    "model=hmm."
                )
            if points.steps <= self.state_size:
                raise UserError(
                    f"state_size={self.state_size} and {points.steps} steps to learn from in "
                    f"{points.source}: give a smaller state, or more data."
                )

    unfinished = None

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 0, stopwatch: Stopwatch | None = None
    ) -> None:
        self.settings = settings or KalmanEM.Settings()
        self.seed, self.stopwatch = seed, stopwatch or Stopwatch()
        self.model: StateSpace | None = None
        self.elbo, self.done = -torch.inf, False
        self._read: Sequences | None = None
        self._steps: StepOrder | None = None
        self._x = np.empty((0, 0))  # in the order time by time

    def begin(self, points: Sequences, model: StateSpace | None = None) -> None:
        """A first model: the one given, else by principal components of the present and the
        past.
        """
        self.settings.check_points(points)
        self._prepare(points)
        self.model = self._choose_start(points) if model is None else model

    def _choose_start(self, points: Sequences) -> StateSpace:
        """Of starts that look back more or less far the one that a few steps of EM say is best."""
        n = self.settings.state_size
        trials: list[tuple[float, int, StateSpace]] = []
        for lags in list_lags(points, n):
            model, rose = begin_states(self._filled, n, lags), -torch.inf
            for _ in range(TRIAL_STEPS):
                smoothed, observed = self.infer(model)
                rose = float(smoothed.log_p.sum())
                model = self._maximise(model, smoothed, observed)
            trials.append((rose, -lags, model))
        return max(trials, key=lambda trial: trial[:2])[2]

    def _prepare(self, points: Sequences) -> None:
        if self._read is points:
            return
        self._steps = order_steps(points.lengths)
        self._x = points.x.numpy()[self._steps.order]
        self._missing = points.has_missing
        self._filled = fill_between(points) if self._missing else points
        mean, covariance = measure_moments(self._filled.x, None)
        flat = covariance.diagonal() <= (1e-9 * mean.abs()).square() + 1e-300
        if bool(flat.any()):
            raise UserError(
                f"{points.source}: {points.columns[int(flat.nonzero()[0])]} is the same at every "
                "step, and no motion explains that: leave the column out."
            )
        self._coordinates = whiten(mean, covariance, diagonal=False)
        self._variance = covariance.diagonal()
        self._read = points

    def infer(self, model: StateSpace) -> tuple[Smoothed, ExpectedObservations]:
        """The E-step, on the sequences that `begin` was given."""
        assert self._steps is not None
        x, dynamics = self._x, model.dynamics
        if not self._missing:
            smoothed = smooth_points(dynamics, x, self._steps)
            return smoothed, as_they_are(x, smoothed)
        smoothed, covariance = smooth_missing(dynamics, x, self._steps)
        return smoothed, expect_missing(dynamics, x, smoothed.mean, covariance)

    def log_likelihood(self, points: Sequences) -> float:
        """Σ_s log p(x_s) of the model as it is, in nats."""
        assert self.model is not None
        return float(self.model.log_prob(points.x, points.lengths).sum())

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step and one M-step."""
        with self.stopwatch.phase("fit"):
            points: Any = batch.points
            if self.model is None:
                self.begin(points)
            self._prepare(points)
            assert self.model is not None
            smoothed, observed = self.infer(self.model)
            made = self._maximise(self.model, smoothed, observed)
            # As a file would give it back: numbers that lie in another order in memory are summed
            # in another, and a run that was killed would end with other bits.
            self.model = StateSpace.restore(made.card(), made.tensors())
            elbo = float(smoothed.log_p.sum()) / points.total
            self.done, self.elbo = elbo - self.elbo < self.settings.tolerance, elbo
            return {"elbo": elbo, "mean_noise": float(self.model.noise.diagonal().mean())}

    def _maximise(
        self, model: StateSpace, smoothed: Smoothed, observed: ExpectedObservations
    ) -> StateSpace:
        """F = Σ E[z_{t+1} z_tᵀ] (Σ E[z_t z_tᵀ])⁻¹ and [H d] = Σ x E[z 1]ᵀ (Σ E[z 1][z 1]ᵀ)⁻¹, with
        the covariances of what is left.
        """
        assert self._steps is not None
        steps, z, x = self._steps, smoothed.mean, observed.x
        first, last = steps.first, steps.last
        before, after = z[steps.before], z[steps.follows]
        whole = z.T @ z + smoothed.every
        if len(after):
            past = whole - z[last].T @ z[last] - smoothed.last
            across = after.T @ before + smoothed.across  # Σ E[z_{t+1} z_tᵀ]
            now = whole - z[first].T @ z[first] - smoothed.first
            F = np.linalg.solve(past, across.T).T
            drift = (now - F @ across.T - across @ F.T + F @ past @ F.T) / len(after)
        else:  # sequences of one step tell nothing of a motion
            F, drift = model.transition.numpy(), model.drift.numpy()
        start = z[first].mean(0)
        apart = z[first] - start
        spread = (smoothed.first + apart.T @ apart) / len(first)
        one = np.column_stack([z, np.ones(len(z))])
        second = one.T @ one
        second[:-1, :-1] += smoothed.every
        looks = one.T @ x
        looks[:-1] += observed.sum_across().T
        both = np.linalg.solve(second, looks).T  # [D, n + 1]
        rest = x - one @ both.T
        noise = (rest.T @ rest + observed.sum_spread(both[:, :-1])) / len(x)
        as_tensor = torch.from_numpy
        return StateSpace(
            as_tensor(start), _lift(spread), as_tensor(F), _lift(drift),
            as_tensor(both[:, :-1].copy()), as_tensor(both[:, -1].copy()),
            self._level(as_tensor(noise)),
        )  # fmt: skip

    def _level(self, noise: torch.Tensor) -> torch.Tensor:
        """At the floor or above, along every column or every direction."""
        floor = self.settings.noise_floor
        if self.settings.noise == "diagonal":
            return torch.diag(torch.maximum(noise.diagonal(), floor * self._variance))
        A, R = self._coordinates.matrix, self._coordinates.inverse
        return R @ raise_to_floor(A @ noise @ A.T, floor) @ R.T

    def state_dict(self) -> dict[str, Any]:
        model = self.model
        return {
            "model": None if model is None else [model.card(), model.tensors()],
            "counts": [self.elbo, self.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model = state["model"] and StateSpace.restore(*state["model"])
        self.elbo, self.done = state["counts"]


def _lift(covariance: np.ndarray) -> torch.Tensor:
    return raise_to_floor(torch.from_numpy(covariance), LEAST_DRIFT)
