"""The Kalman filter and smoother where values are missing: a value that is not there is a row of
the loading that is 0, and a step without any is a motion that nobody looked at. Exact.

Shumway & Stoffer 1982, §3. What is known of the state then depends on which values there are, so
every sequence has covariances of its own: slower than kalman.py, where all share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fledge.models.latent.kalman import LOG_2PI, Dynamics, Smoothed
from fledge.models.latent.step_order import StepOrder


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


def filter_missing(model: Dynamics, x: np.ndarray, steps: StepOrder) -> FilteredApart:
    """x: [N, D], NaN where it is missing, rows in the order time by time of sequences that are not
    cut.
    """
    offsets, (n, N) = steps.offsets.tolist(), (len(model.start), len(x))
    before, mean = np.empty((2, N, n))
    predicted, filtered = np.empty((2, N, n, n))
    log_p = np.zeros(len(steps.piece_rows))  # of pieces by length, as rows of a time are
    eye, F = np.eye(n), model.transition
    for t in range(len(offsets) - 1):
        rows = slice(offsets[t], offsets[t + 1])
        size = rows.stop - rows.start
        if t:
            past = slice(offsets[t - 1], offsets[t - 1] + size)
            before[rows] = mean[past] @ F.T
            predicted[rows] = F @ filtered[past] @ F.T + model.drift
        else:
            before[rows], predicted[rows] = model.start, model.spread
        seen = ~np.isnan(x[rows])
        H = seen[:, :, None] * model.loading
        both = seen[:, :, None] & seen[:, None, :]
        R = np.where(both, model.noise, 0.0) + (~seen)[:, :, None] * np.eye(x.shape[1])
        rest = np.where(seen, x[rows] - model.offset, 0.0) - np.einsum(
            "sdn,sn->sd", H, before[rows]
        )
        P = predicted[rows]
        root = np.linalg.cholesky(H @ P @ H.swapaxes(1, 2) + R)
        white = np.linalg.solve(root, rest[:, :, None])[:, :, 0]
        W = np.linalg.solve(root, H @ P)  # [s, D, n]
        K = np.linalg.solve(root.swapaxes(1, 2), W).swapaxes(1, 2)  # P Hᵀ S⁻¹
        mean[rows] = before[rows] + np.einsum("snd,sd->sn", K, rest)
        left = eye - K @ H
        V = left @ P @ left.swapaxes(1, 2) + K @ R @ K.swapaxes(1, 2)  # Joseph's form
        filtered[rows] = (V + V.swapaxes(1, 2)) / 2
        log_det = np.log(np.einsum("sdd->sd", root)).sum(1)  # of what is missing 0
        each = -log_det - 0.5 * (np.square(white).sum(1) + seen.sum(1) * LOG_2PI)
        log_p[:size] += each
    number = np.empty(len(steps.piece_rows), dtype=np.int64)
    for sequence, chain in enumerate(steps.chains):
        number[chain] = sequence
    by_sequence = np.empty_like(log_p)
    by_sequence[number] = log_p
    return FilteredApart(before, mean, predicted, filtered, by_sequence)


def smooth_missing(model: Dynamics, x: np.ndarray, steps: StepOrder) -> tuple[Smoothed, np.ndarray]:
    """The filter forward, then what the future adds; and Cov[z_t | x] of every row [N, n, n]."""
    done = filter_missing(model, x, steps)
    offsets, F = steps.offsets.tolist(), model.transition
    mean, V = done.mean.copy(), done.filtered.copy()
    across = np.zeros_like(model.drift)
    for t in range(len(offsets) - 2, 0, -1):
        rows = slice(offsets[t], offsets[t + 1])
        past = slice(offsets[t - 1], offsets[t - 1] + rows.stop - rows.start)
        P = done.predicted[rows]
        J = np.linalg.solve(P, F @ done.filtered[past]).swapaxes(1, 2)
        across += (V[rows] @ J.swapaxes(1, 2)).sum(0)
        mean[past] += np.einsum("sij,sj->si", J, mean[rows] - done.before[rows])
        V[past] += J @ (V[rows] - P) @ J.swapaxes(1, 2)
    sums = V.sum(0), V[steps.first].sum(0), V[steps.last].sum(0)
    return Smoothed(mean, *sums, across, done.log_p), V
