"""What the M-step of a state space needs of observations: themselves; and where a value is missing,
what it is expected to be, given the state and what is seen beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fledge.models.latent.kalman import Dynamics, Smoothed
from fledge.models.latent.missing_values import each_pattern


@dataclass(frozen=True)
class Pattern:
    """Steps that lack the same values: there x = a + C z + N(0, noise), C and noise 0 where a value
    is seen.  slope: C [D, n]. noise: [D, D]. covariance: Σ Cov[z | x] of these steps [n, n]. steps:
    how many.
    """

    slope: np.ndarray
    noise: np.ndarray
    covariance: np.ndarray
    steps: int


@dataclass(frozen=True)
class ExpectedObservations:
    """x: E[x_t | all that is seen], [N, D]."""

    x: np.ndarray
    patterns: list[Pattern]

    def sum_across(self) -> np.ndarray:
        """Σ Cov[x_t, z_t | all that is seen].  [D, n]"""
        return sum((each.slope @ each.covariance for each in self.patterns), np.zeros(()))

    def sum_spread(self, loading: np.ndarray) -> np.ndarray:
        """Σ Cov[x_t − H z_t | all that is seen].  [D, n] -> [D, D]"""
        total = np.zeros((len(loading), len(loading)))
        for each in self.patterns:
            apart = each.slope - loading
            total += apart @ each.covariance @ apart.T + each.steps * each.noise
        return total


def as_they_are(x: np.ndarray, smoothed: Smoothed) -> ExpectedObservations:
    """Where none is missing."""
    D, n = x.shape[1], len(smoothed.every)
    whole = Pattern(np.zeros((D, n)), np.zeros((D, D)), smoothed.every, len(x))
    return ExpectedObservations(x, [whole])


def expect_missing(
    model: Dynamics, x: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> ExpectedObservations:
    """x: [N, D], NaN where it is missing. mean, covariance: of the state, given what is seen,
    [N, n], [N, n, n].
    """
    filled, patterns = x.copy(), []
    H, d, R = model.loading, model.offset, model.noise
    for rows, seen_here in each_pattern(torch.from_numpy(x)):
        place, seen = rows.numpy(), seen_here.numpy()
        lost = ~seen
        slope, noise = np.zeros_like(H), np.zeros_like(R)
        if lost.any():
            B = np.linalg.solve(R[np.ix_(seen, seen)], R[np.ix_(seen, lost)]).T
            slope[lost] = H[lost] - B @ H[seen]
            noise[np.ix_(lost, lost)] = R[np.ix_(lost, lost)] - B @ R[np.ix_(seen, lost)]
            known = x[np.ix_(place, seen)] - d[seen]
            filled[np.ix_(place, lost)] = d[lost] + known @ B.T + mean[place] @ slope[lost].T
        patterns.append(Pattern(slope, noise, covariance[place].sum(0), len(place)))
    return ExpectedObservations(filled, patterns)
