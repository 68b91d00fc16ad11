"""Small problems of mixtures, and the formulas written out with scipy, an independent library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor

from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind


def draw_points(N: int, D: int, seed: int, groups: int = 3, far: float = 0.0) -> Tensor:
    """Correlated clusters, `far` from the origin."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(D, D))
    centre = 4 * random.normal(size=(groups, D))
    x = random.normal(size=(N, D)) @ mix + centre[random.integers(0, groups, N)] + far
    return torch.from_numpy(x)


def draw_mixture(kind: Kind, K: int, D: int, seed: int, far: float = 0.0) -> GaussianMixture:
    random = np.random.default_rng(seed)
    weight = random.dirichlet(np.ones(K))
    root = random.normal(size=(K, D, D)) / D**0.5
    matrices = root @ root.transpose(0, 2, 1) + 0.3 * np.eye(D)
    variances = random.uniform(0.3, 2, (K, D))
    covariance = {
        "full": matrices, "tied": matrices[0], "diagonal": variances, "spherical": variances[:, 0],
    }[kind]  # fmt: skip
    mean = 3 * random.normal(size=(K, D)) + far
    return GaussianMixture(kind, *(torch.from_numpy(each) for each in (weight, mean, covariance)))


def covariance_of(mixture: GaussianMixture, k: int) -> np.ndarray:
    """As a matrix, whatever the kind."""
    c, D = mixture.covariance.numpy(), mixture.width
    if mixture.kind == "full":
        return c[k]
    if mixture.kind == "tied":
        return c
    return np.diag(c[k]) if mixture.kind == "diagonal" else c[k] * np.eye(D)


def joint_by_scipy(mixture: GaussianMixture, x: Tensor) -> np.ndarray:
    """log p(x, z); of a point with missing values by the marginal of the others.  [N, K]"""
    rows = x.numpy()
    joint = np.empty((len(rows), mixture.components))
    for k in range(mixture.components):
        mean, covariance = mixture.mean[k].numpy(), covariance_of(mixture, k)
        if not np.isnan(rows).any():
            of_all: Any = covariance
            joint[:, k] = multivariate_normal.logpdf(rows, mean, of_all)
            joint[:, k] += math.log(float(mixture.weight[k]))
            continue
        for n, row in enumerate(rows):
            seen = ~np.isnan(row)
            cov: Any = covariance[np.ix_(seen, seen)]
            joint[n, k] = np.log(mixture.weight[k]) + multivariate_normal.logpdf(
                row[seen], mean[seen], cov
            )
    return joint


def moments_by_hand(mixture: GaussianMixture, x: Tensor, weight: Tensor) -> tuple:
    """Σ w r (1, x, x xᵀ) of points without missing values, and Σ w log p(x)."""
    joint = joint_by_scipy(mixture, x)
    log_p = np.asarray(logsumexp(joint, axis=1))
    r = np.exp(joint - log_p[:, None]) * weight.numpy()[:, None]
    rows = x.numpy()
    second = np.einsum("nk,ni,nj->kij", r, rows, rows)
    return r.sum(0), r.T @ rows, second, float(weight.numpy() @ log_p)
