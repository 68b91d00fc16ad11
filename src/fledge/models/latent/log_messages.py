"""The messages of one sequence in logarithms: slower, and of any spread of densities; the likeliest
path; and paths drawn from the posterior.

Rabiner 1989, eqs. 19–37; Viterbi 1967; forward filtering, backward sampling: Scott 2002, §2.1.
"""

from __future__ import annotations

import numpy as np


def log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """log Σ exp, where all may be −inf."""
    top = x.max(axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis)) + top.squeeze(axis)


def pass_in_logs(
    start: np.ndarray, transition: np.ndarray, log_emission: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """p(z_t | x) [T, K], Σ_t p(z_t, z_{t+1} | x) [K, K], log p(x).  log_emission: [T, K]

    Of a sequence that no path explains log p(x) is −inf and the other two are 0.
    """
    T, K = log_emission.shape
    with np.errstate(divide="ignore"):
        first, A = np.log(start), np.log(transition)
    alpha, beta = np.empty((T, K)), np.zeros((T, K))
    alpha[0] = first + log_emission[0]
    for t in range(1, T):
        alpha[t] = log_sum(alpha[t - 1][:, None] + A, 0) + log_emission[t]
    for t in range(T - 2, -1, -1):
        beta[t] = log_sum(A + log_emission[t + 1] + beta[t + 1], 1)
    log_p = float(log_sum(alpha[-1], 0))
    if not np.isfinite(log_p):
        return np.zeros((T, K)), np.zeros((K, K)), log_p
    state = np.exp(alpha + beta - log_p)
    pairs = np.zeros((K, K))
    for t in range(T - 1):
        pairs += np.exp(alpha[t][:, None] + A + log_emission[t + 1] + beta[t + 1] - log_p)
    return state, pairs, log_p


def find_likeliest_path(
    start: np.ndarray, transition: np.ndarray, log_emission: np.ndarray
) -> tuple[np.ndarray, float]:
    """argmax_z p(x, z) and its logarithm (Viterbi).  log_emission: [T, K] -> [T]"""
    T, K = log_emission.shape
    with np.errstate(divide="ignore"):
        best, A = np.log(start) + log_emission[0], np.log(transition).T.copy()  # to, from
    came = np.empty((T, K), dtype=np.int32)
    every = np.arange(K)
    for t in range(1, T):
        through = A + best
        came[t] = through.argmax(1)
        best = through[every, came[t]] + log_emission[t]
    path = np.empty(T, dtype=np.int64)
    path[-1] = best.argmax()
    for t in range(T - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path, float(best.max())


def draw_paths(
    start: np.ndarray,
    transition: np.ndarray,
    log_emission: np.ndarray,
    paths: int,
    uniform: np.ndarray,
) -> np.ndarray:
    """Paths z ~ p(z | x): the last state of what all observations say, then each before it.

    log_emission: [T, K]. uniform: numbers in [0, 1), [T, paths].  -> [paths, T]
    """
    T, K = log_emission.shape
    with np.errstate(divide="ignore"):
        alpha, A = np.empty((T, K)), np.log(transition)
        alpha[0] = np.log(start) + log_emission[0]
    for t in range(1, T):
        alpha[t] = log_sum(alpha[t - 1][:, None] + A, 0) + log_emission[t]
    drawn = np.empty((paths, T), dtype=np.int64)
    drawn[:, -1] = _draw(np.broadcast_to(alpha[-1], (paths, K)), uniform[-1])
    for t in range(T - 2, -1, -1):
        drawn[:, t] = _draw(alpha[t] + A.T[drawn[:, t + 1]], uniform[t])
    return drawn


def _draw(log_weight: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One of K for every row, in proportion to the weights.  [n, K], [n] -> [n]"""
    share = np.exp(log_weight - log_weight.max(1, keepdims=True)).cumsum(1)
    place = uniform[:, None] * share[:, -1:]
    return np.minimum((share <= place).sum(1), share.shape[1] - 1)
