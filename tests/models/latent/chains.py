"""Small chains, and what can be said of them by listing every path, or by one large normal."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def draw_chain(K: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """π and A."""
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(K)), random.dirichlet(np.ones(K), K)


def list_paths(
    start: np.ndarray, transition: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every path and log p(x, z) of it.  logs: log p(x_t | z_t) [T, K] -> [K^T, T], [K^T]"""
    T, K = logs.shape
    paths = np.array(list(itertools.product(range(K), repeat=T)))
    with np.errstate(divide="ignore"):
        joint = np.log(start)[paths[:, 0]] + logs[np.arange(T), paths].sum(1)
        for t in range(1, T):
            joint = joint + np.log(transition)[paths[:, t - 1], paths[:, t]]
    return paths, joint


def sum_paths(
    start: np.ndarray, transition: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """p(z_t | x) [T, K], Σ_t p(z_t, z_{t+1} | x) [K, K], log p(x), path by path."""
    T, K = logs.shape
    paths, joint = list_paths(start, transition, logs)
    top = joint.max()
    log_p = float(np.log(np.exp(joint - top).sum()) + top)
    share = np.exp(joint - log_p)
    state, pairs = np.zeros((T, K)), np.zeros((K, K))
    for path, p in zip(paths, share, strict=True):
        state[np.arange(T), path] += p
        np.add.at(pairs, (path[:-1], path[1:]), p)
    return state, pairs, log_p


def draw_space(n: int, D: int, seed: int) -> dict[str, Any]:
    """Parameters of a linear-Gaussian state space, by name."""
    random = np.random.default_rng(seed)

    def spread(size: int) -> np.ndarray:
        root = random.normal(size=(size, size))
        return root @ root.T + 0.3 * np.eye(size)

    return {
        "start": random.normal(size=n), "spread": spread(n),
        "transition": 0.6 * random.normal(size=(n, n)), "drift": spread(n),
        "loading": random.normal(size=(D, n)), "offset": random.normal(size=D),
        "noise": spread(D),
    }  # fmt: skip


def as_one_normal(space: dict[str, Any], T: int) -> tuple[np.ndarray, ...]:
    """All states of T steps as one normal, and all observations as a linear look at it: mean [nT],
    covariance [nT, nT], loading [DT, nT], offset [DT], noise [DT, DT].
    """
    F, n = space["transition"], len(space["start"])
    # z = L (z_1, w_2, …, w_T), L lower triangular of the powers of F
    L = np.zeros((n * T, n * T))
    for t in range(T):
        for s in range(t + 1):
            L[n * t : n * t + n, n * s : n * s + n] = np.linalg.matrix_power(F, t - s)
    own = np.kron(np.eye(T), space["drift"])
    own[:n, :n] = space["spread"]
    first = np.zeros(n * T)
    first[:n] = space["start"]
    return (
        L @ first, L @ own @ L.T, np.kron(np.eye(T), space["loading"]),
        np.tile(space["offset"], T), np.kron(np.eye(T), space["noise"]),
    )  # fmt: skip
