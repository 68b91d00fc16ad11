"""Coordinates in which data has mean 0 and covariance I, or variances 1: there a quadratic form
written out in monomials loses no digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 16_384  # points that are centred at a time
CONSTANT = 1e-9  # a spread below this share of a column's mean is rounding
COLLINEAR = 1e-3  # of the correlations: columns that say the same keep a direction of their own


@dataclass(frozen=True)
class Coordinates:
    """z = A (x − m).

    centre: m [D]. matrix: A, lower triangular [D, D]. inverse: A⁻¹, lower triangular. log_det: of
    A: log p(x) = log p(z) + log |det A|.
    """

    centre: Tensor
    matrix: Tensor
    inverse: Tensor
    log_det: float

    def write(self, x: Tensor, out: Tensor) -> Tensor:
        """z of a chunk of points, transposed.  [n, D] -> out [D, n]"""
        shift = self.matrix @ self.centre
        return torch.addmm(shift[:, None], self.matrix, x.T, beta=-1, out=out)

    def write_rows(self, x: Tensor) -> Tensor:
        """The same, a point a row.  [n, D] -> [n, D]"""
        return torch.addmm(self.matrix @ self.centre, x, self.matrix.T, beta=-1)


def measure_moments(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and covariance of points without missing values, in two passes.  [N, D] -> [D], [D, D]

    Two passes, for E[xxᵀ] − E[x]E[x]ᵀ loses every digit far from the origin.
    """
    total = float(len(x)) if weight is None else float(weight.sum())
    first = x[0].clone()  # a centre near the data, so that its sum loses none either
    mean = torch.zeros_like(first)
    for chunk, share in _each(x, weight):
        mean += (chunk - first).T @ share
    mean = first + mean / total
    covariance = x.new_zeros(x.shape[1], x.shape[1])
    for chunk, share in _each(x, weight):
        apart = chunk - mean
        covariance += (apart * share[:, None]).T @ apart
    return mean, covariance / total


def _each(x: Tensor, weight: Tensor | None):
    for start in range(0, len(x), BLOCK):
        chunk = x[start : start + BLOCK]
        share = chunk.new_ones(len(chunk)) if weight is None else weight[start : start + BLOCK]
        yield chunk, share


def whiten(mean: Tensor, covariance: Tensor, *, diagonal: bool) -> Coordinates:
    """Coordinates of covariance I, or with `diagonal` of variances 1 without a rotation.

    A column without spread keeps its unit; a direction without spread among columns that have some
    is given a thirtieth of theirs.
    """
    variance = covariance.diagonal()
    spread = variance > (CONSTANT * mean.abs()).square() + torch.finfo(mean.dtype).tiny
    sd = torch.where(spread, variance, 1.0).sqrt()
    eye = torch.eye(len(mean), dtype=mean.dtype)
    root = eye
    if not diagonal:
        root = torch.linalg.cholesky(covariance / (sd[:, None] * sd) + (COLLINEAR * eye))
        root = torch.where(spread[:, None] & spread, root, 0.0) + torch.diag((~spread).double())
    root = sd[:, None] * root
    matrix = torch.linalg.solve_triangular(root, eye, upper=False)
    # Contiguous, as a checkpoint keeps it: products of another layout have other last bits.
    matrix, root = matrix.contiguous(), root.contiguous()
    return Coordinates(mean, matrix, root, float(-root.diagonal().log().sum()))
