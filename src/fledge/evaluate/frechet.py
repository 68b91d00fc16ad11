"""The Fréchet distance between normal distributions of the means and covariances of two sets of
features (Heusel et al. 2017, arXiv:1706.08500, eq. 6).
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """d² between samples.  [N, F] and [M, F] float64; N and M of 2 or more.

    Of few samples it is too large: each covariance that is estimated of N differs from the true one
    by errors that never cancel, by an amount that falls as 1/N (Chong & Forsyth 2020,
    arXiv:1911.07023, §3). It compares with that of as many others only.
    """
    return frechet_of_moments(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())


def frechet_of_moments(mean: Tensor, covariance: Tensor, other: Tensor, spread: Tensor) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½).  [F], [F, F] twice

    Σ₁Σ₂ has the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric: no root of a matrix that is none,
    and none that comes out complex where a covariance has not full rank.
    """
    covariance, spread = torch.atleast_2d(covariance), torch.atleast_2d(spread)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    both = torch.linalg.eigvalsh(root @ spread @ root).clamp(min=0).sqrt().sum()
    far = (mean - other).square().sum()
    return float(far + covariance.trace() + spread.trace() - 2 * both)
