"""The Kalman filter and smoother where values are missing: a value that is not there is a row of
the loading that is 0, and a step without any is a motion that nobody looked at. Exact.

Shumway & Stoffer 1982, §3. What is known of the state then depends on which values there are, so
every sequence has covariances of its own. Only what needs the step before stands in a loop over
time: the covariances, then the means; all else is done for all steps together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.models.latent.kalman import LOG_2PI, Dynamics, Smoothed
from fledge.models.latent.step_order import StepOrder, sequence_of

BLOCK = 4_096  # steps whose [D, D] covariances are held at a time


@dataclass(frozen=True)
class FilteredApart:
    """Rows in the order time by time.  before, mean: E[z_t | x_1 … x_{t−1}] and E[z_t | x_1 … x_t]
    [N, n]. predicted, filtered: their covariances [N, n, n]. log_p: [S].
    """

    before: np.ndarray
    mean: np.ndarray
    predicted: np.ndarray
    filtered: np.ndarray
    log_p: np.ndarray


class Looks:
    """What each step shows of the state: loading and noise with rows of what is not seen, 0 and 1.

    apart: x − d, 0 where it is missing [N, D]. which: of every step the number of its pattern of
    missing values [N]. seen: of every pattern [U, D] of bool. loading, noise: [U, D, n], [U, D, D].
    """

    def __init__(self, model: Dynamics, x: np.ndarray) -> None:
        there = ~np.isnan(x)
        self.apart = np.where(there, x - model.offset, 0.0)
        self.seen, which = np.unique(there, axis=0, return_inverse=True)
        self.which = which.reshape(-1)
        both = self.seen[:, :, None] & self.seen[:, None, :]
        lost = ~self.seen[:, :, None] * np.eye(x.shape[1])
        self.loading = self.seen[:, :, None] * model.loading
        self.noise = np.where(both, model.noise, 0.0) + lost


def filter_missing(model: Dynamics, x: np.ndarray, steps: StepOrder) -> FilteredApart:
    """x: [N, D], NaN where it is missing, rows in the order time by time of sequences that are not
    cut.
    """
    looks, F = Looks(model, x), model.transition
    predicted, filtered, gain = filter_covariances(model, looks, steps)
    H = looks.loading[looks.which]
    left = np.eye(len(F)) - gain @ H
    drive = _apply(gain, looks.apart)
    mean, first = np.empty_like(drive), slice(0, int(steps.offsets[1]))
    mean[first] = left[first] @ model.start + drive[first]
    carry = left @ F
    for past, rows in list_times(steps):
        mean[rows] = _apply(carry[rows], mean[past]) + drive[rows]
    before = np.empty_like(mean)
    before[first] = model.start
    before[steps.follows] = mean[steps.before] @ F.T
    each = measure_steps(looks, before, predicted)
    log_p = np.bincount(sequence_of(steps), weights=each, minlength=len(steps.chains))
    return FilteredApart(before, mean, predicted, filtered, log_p)


def filter_covariances(
    model: Dynamics, looks: Looks, steps: StepOrder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cov[z_t | x_1 … x_{t−1}] and Cov[z_t | x_1 … x_t], by Joseph's form, and the gains.
    -> [N, n, n], [N, n, n], [N, n, D]
    """
    N, n, F, eye = len(looks.which), len(model.start), model.transition, np.eye(len(model.start))
    predicted, filtered = np.empty((2, N, n, n))
    gain = np.empty((N, n, looks.apart.shape[1]))
    back, first = F.T, slice(0, int(steps.offsets[1]))
    predicted[first] = model.spread
    for past, rows in [(first, first), *list_times(steps)]:
        if rows.start:
            predicted[rows] = F @ filtered[past] @ back + model.drift
        P, which = predicted[rows], looks.which[rows]
        H, R = looks.loading[which], looks.noise[which]
        across = H @ P
        K = np.linalg.solve(across @ H.swapaxes(1, 2) + R, across).swapaxes(1, 2)
        left = eye - K @ H
        V = left @ P @ left.swapaxes(1, 2) + K @ R @ K.swapaxes(1, 2)
        filtered[rows], gain[rows] = (V + V.swapaxes(1, 2)) / 2, K
    return predicted, filtered, gain


def measure_steps(looks: Looks, before: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """log p(x_t | x_1 … x_{t−1}) of every step, in nats.  -> [N]"""
    each = np.empty(len(before))
    for start in range(0, len(before), BLOCK):
        rows = slice(start, start + BLOCK)
        which = looks.which[rows]
        H = looks.loading[which]
        rest = looks.apart[rows] - _apply(H, before[rows])
        root = np.linalg.cholesky(H @ predicted[rows] @ H.swapaxes(1, 2) + looks.noise[which])
        white = np.linalg.solve(root, rest[:, :, None])[:, :, 0]
        log_det = np.log(np.einsum("sdd->sd", root)).sum(1)  # of what is missing 0
        seen = looks.seen[which].sum(1)
        each[rows] = -log_det - 0.5 * (np.square(white).sum(1) + seen * LOG_2PI)
    return each


def smooth_missing(model: Dynamics, x: np.ndarray, steps: StepOrder) -> tuple[Smoothed, np.ndarray]:
    """The filter forward, then what the future adds; and Cov[z_t | x] of every row [N, n, n]."""
    done, F = filter_missing(model, x, steps), model.transition
    mean, V, P = done.mean.copy(), done.filtered.copy(), done.predicted
    back = np.empty_like(V)  # of every row that has one before it: the gain of that one
    later = steps.follows
    back[later] = np.linalg.solve(P[later], F @ done.filtered[steps.before]).swapaxes(1, 2)
    for past, rows in reversed(list_times(steps)):
        J = back[rows]
        mean[past] += _apply(J, mean[rows] - done.before[rows])
        V[past] += J @ (V[rows] - P[rows]) @ J.swapaxes(1, 2)
    across = np.einsum("sij,skj->ik", V[later], back[later])
    sums = V.sum(0), V[steps.first].sum(0), V[steps.last].sum(0)
    return Smoothed(mean, *sums, across, done.log_p), V


def list_times(steps: StepOrder) -> list[tuple[slice, slice]]:
    """The rows of every time but the first, each after those of the same sequences one step
    before.
    """
    offsets = steps.offsets.tolist()
    return [
        (slice(past, past + high - low), slice(low, high))
        for past, low, high in zip(offsets, offsets[1:], offsets[2:], strict=False)
    ]


def _apply(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[s, i, j], [s, j] -> [s, i]"""
    return (matrices @ vectors[:, :, None])[:, :, 0]
