"""Chains that are not seen, small enough to list every path of their states; and a state that moves
on a line, as one large normal.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Paths:
    """Every path of one sequence. path: [P, T]. joint: log p(x, z) of each [P]."""

    path: Tensor
    joint: Tensor

    @property
    def log_p(self) -> float:
        """log p(x) = log Σ_z p(x, z)."""
        return float(self.joint.logsumexp(0))

    @property
    def share(self) -> Tensor:
        """p(z | x).  [P]"""
        return (self.joint - self.joint.logsumexp(0)).exp()

    def count(self, K: int, x: Tensor, V: int) -> tuple[Tensor, Tensor, Tensor]:
        """How often, in the mean over paths, one begins in a state [K], changes from one to another
        [K, K], and shows a symbol in it [K, V].
        """
        first = torch.zeros(K, dtype=torch.float64)
        pairs = torch.zeros(K, K, dtype=torch.float64)
        shown = torch.zeros(K, V, dtype=torch.float64)
        for path, share in zip(self.path.tolist(), self.share, strict=True):
            first[path[0]] += share
            for i, j in itertools.pairwise(path):
                pairs[i, j] += share
            for state, symbol in zip(path, x.tolist(), strict=True):
                shown[state, symbol] += share
        return first, pairs, shown


def list_paths(start: Tensor, transition: Tensor, emission: Tensor, x: Tensor) -> Paths:
    """start: [K]. transition: [K, K]. emission: p(symbol | state) [K, V]. x: symbols [T]."""
    paths, joint = list(itertools.product(range(len(start)), repeat=len(x))), []
    for path in paths:
        p = float(start[path[0]]) * float(emission[path[0], x[0]])
        for t in range(1, len(x)):
            p *= float(transition[path[t - 1], path[t]]) * float(emission[path[t], x[t]])
        joint.append(math.log(p))
    return Paths(torch.tensor(paths), torch.tensor(joint, dtype=torch.float64))


@dataclass(frozen=True)
class Space:
    """z_1 ~ N(start, spread), z_t = transition z_{t−1} + N(0, drift), x_t = loading z_t + offset +
    N(0, noise).
    """

    start: Tensor
    spread: Tensor
    transition: Tensor
    drift: Tensor
    loading: Tensor
    offset: Tensor
    noise: Tensor

    def condition(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """E[z | x] [T, n], Cov[z | x] [nT, nT] and log p(x): all states and all observations are
        one normal, whose covariances are written out block by block.
        """
        T, n = len(x), len(self.start)
        mean, C = self._states(T)
        H = torch.block_diag(*[self.loading] * T)
        S = H @ C @ H.T + torch.block_diag(*[self.noise] * T)
        apart = x.flatten() - H @ mean - self.offset.repeat(T)
        across = C @ H.T @ torch.linalg.inv(S)
        square = apart @ torch.linalg.inv(S) @ apart
        log_p = -0.5 * float(square + torch.linalg.det(2 * math.pi * S).log())
        return (mean + across @ apart).view(T, n), C - across @ H @ C, log_p

    def _states(self, T: int) -> tuple[Tensor, Tensor]:
        """Mean [nT] and covariance [nT, nT] of all states."""
        n = len(self.start)
        means, own = [self.start], [self.spread]
        for _ in range(T - 1):
            means.append(self.transition @ means[-1])
            own.append(self.transition @ own[-1] @ self.transition.T + self.drift)
        C = torch.zeros(n * T, n * T, dtype=torch.float64)
        for early in range(T):
            block = own[early]
            for late in range(early, T):
                C[n * late : n * late + n, n * early : n * early + n] = block
                C[n * early : n * early + n, n * late : n * late + n] = block.T
                block = self.transition @ block
        return torch.cat(means), C
