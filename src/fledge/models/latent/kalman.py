"""The Kalman filter and the Rauch–Tung–Striebel smoother: the messages of a chain whose state is a
point and everything normal. The same algorithm as for a hidden Markov model, on a line: a message
forward, what has been seen, and one backward, what is still to come.

Kalman 1960; Rauch, Tung & Striebel 1965; Bishop 2006, §13.3. Covariances do not depend on what is
observed, only on how many steps went before: they are computed once for all sequences, and no more
once they stand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fledge.models.latent.step_order import StepOrder, sequence_of

SETTLED = 1e-15  # a relative change of a covariance, below which it stands
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Dynamics:
    """z_1 ~ N(m, P), z_t = F z_{t−1} + N(0, Q), x_t = H z_t + d + N(0, R), as float64 arrays.

    start: m [n]. spread: P [n, n]. transition: F [n, n]. drift: Q [n, n]. loading: H [D, n].
    offset: d [D]. noise: R [D, D].
    """

    start: np.ndarray
    spread: np.ndarray
    transition: np.ndarray
    drift: np.ndarray
    loading: np.ndarray
    offset: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class Gains:
    """Of every time until they stand, U of them; later times have the last.

    predicted: Cov[z_t | x_1 … x_{t−1}] [U, n, n]. filtered: Cov[z_t | x_1 … x_t] [U, n, n]. gain:
    [U, n, D]. root: W with Wᵀ W the inverse of Cov[x_t | x_1 … x_{t−1}] [U, D, D]. back: J_t =
    filtered_t Fᵀ predicted_{t+1}⁻¹ [U, n, n].
    """

    predicted: np.ndarray
    filtered: np.ndarray
    gain: np.ndarray
    root: np.ndarray
    back: np.ndarray

    def at(self, t: int) -> int:
        return min(t, len(self.gain) - 1)


@dataclass(frozen=True)
class Filtered:
    """Rows in the order time by time.  predicted, mean: E[z_t | x_1 … x_{t−1}] and E[z_t | x_1 …
    x_t], [N, n]. log_p: of every sequence, in nats [S].
    """

    predicted: np.ndarray
    mean: np.ndarray
    log_p: np.ndarray
    gains: Gains


@dataclass(frozen=True)
class Smoothed:
    """mean: E[z_t | x] [N, n], rows in the order time by time. The rest are sums of covariances
    given x over all sequences, [n, n]: of every step, of the first ones, of the last ones, and of a
    step with the one before it, Cov[z_{t+1}, z_t | x]. log_p: [S].
    """

    mean: np.ndarray
    every: np.ndarray
    first: np.ndarray
    last: np.ndarray
    across: np.ndarray
    log_p: np.ndarray


def compute_gains(model: Dynamics, times: int) -> Gains:
    """Joseph's form of the update, which keeps covariances symmetric and positive."""
    eye, H, R, F = np.eye(len(model.start)), model.loading, model.noise, model.transition
    predicted, filtered, gains, roots = [], [], [], []
    P = model.spread
    for _ in range(times):
        lower = np.linalg.cholesky(H @ P @ H.T + R)
        W = np.linalg.solve(lower, np.eye(len(lower)))
        K = P @ H.T @ W.T @ W
        left = eye - K @ H
        V = left @ P @ left.T + K @ R @ K.T
        V = (V + V.T) / 2
        predicted.append(P)
        filtered.append(V)
        gains.append(K)
        roots.append(W)
        later = F @ V @ F.T + model.drift
        if np.abs(later - P).max() <= SETTLED * np.abs(P).max():
            break
        P = later
    stacked = np.stack(filtered)
    after = F @ stacked @ F.T + model.drift
    back = np.linalg.solve(after, F @ stacked).swapaxes(1, 2)
    return Gains(np.stack(predicted), stacked, np.stack(gains), np.stack(roots), back)


def filter_points(model: Dynamics, x: np.ndarray, steps: StepOrder) -> Filtered:
    """x: [N, D], rows in the order time by time of sequences that are not cut."""
    offsets = steps.offsets.tolist()
    gains = compute_gains(model, len(offsets) - 1)
    predicted = np.empty((len(x), len(model.start)))
    mean = np.empty_like(predicted)
    apart = x - model.offset
    white = np.empty_like(x)
    for t in range(len(offsets) - 1):
        low, high = offsets[t], offsets[t + 1]
        if t:
            past = offsets[t - 1]
            predicted[low:high] = mean[past : past + high - low] @ model.transition.T
        else:
            predicted[low:high] = model.start
        u = gains.at(t)
        rest = apart[low:high] - predicted[low:high] @ model.loading.T
        np.matmul(rest, gains.root[u].T, out=white[low:high])
        np.matmul(rest, gains.gain[u].T, out=mean[low:high])
        mean[low:high] += predicted[low:high]
    time = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    log_det = np.log(np.einsum("udd->ud", gains.root)).sum(1)
    each = log_det[np.minimum(time, len(log_det) - 1)]
    each = each - 0.5 * (np.einsum("nd,nd->n", white, white) + x.shape[1] * LOG_2PI)
    log_p = np.bincount(sequence_of(steps), weights=each, minlength=len(steps.chains))
    return Filtered(predicted, mean, log_p, gains)


def smooth_points(model: Dynamics, x: np.ndarray, steps: StepOrder) -> Smoothed:
    """The filter forward, then what the future adds to it, backward."""
    done = filter_points(model, x, steps)
    offsets, gains = steps.offsets.tolist(), done.gains
    mean = done.mean.copy()
    for t in range(len(offsets) - 2, 0, -1):
        low, high, past = offsets[t], offsets[t + 1], offsets[t - 1]
        rest = mean[low:high] - done.predicted[low:high]
        mean[past : past + high - low] += rest @ gains.back[gains.at(t - 1)].T
    lengths = np.searchsorted(steps.offsets, steps.piece_rows[:, 1], side="right")
    return Smoothed(mean, *sum_covariances(gains, lengths), done.log_p)


def sum_covariances(
    gains: Gains, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of sequences of these lengths: over every step, first, last, and across. Sequences of one
    length have the same covariances.
    """
    length, times = np.unique(lengths, return_counts=True)
    length, times = length[::-1], times[::-1].astype(np.float64)
    n = gains.filtered.shape[1]
    every, last, across = (np.zeros((n, n)) for _ in range(3))
    V = np.empty((len(length), n, n))
    for t in range(int(length[0]) - 1, -1, -1):
        ends, more = length == t + 1, int((length > t + 1).sum())
        u = gains.at(t)
        if more:  # V holds Cov[z_{t+1} | x]
            J = gains.back[u]
            across += np.tensordot(times[:more], V[:more] @ J.T, 1)
            V[:more] = gains.filtered[u] + J @ (V[:more] - gains.predicted[gains.at(t + 1)]) @ J.T
        if ends.any():
            V[ends] = gains.filtered[u]
            last += times[ends].sum() * gains.filtered[u]
        every += np.tensordot(times[: more + int(ends.sum())], V[: more + int(ends.sum())], 1)
    return every, np.tensordot(times, V, 1), last, across


def list_covariances(gains: Gains, times: int) -> np.ndarray:
    """Cov[z_t | x] of one sequence of so many steps.  -> [T, n, n]"""
    V = np.empty((times, *gains.filtered.shape[1:]))
    V[-1] = gains.filtered[gains.at(times - 1)]
    for t in range(times - 2, -1, -1):
        J, u = gains.back[gains.at(t)], gains.at(t)
        V[t] = gains.filtered[u] + J @ (V[t + 1] - gains.predicted[gains.at(t + 1)]) @ J.T
    return V
