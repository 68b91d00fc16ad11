"""A mixture of normals by its natural parameters: log N(z; μ, Λ⁻¹) is linear in the monomials 1,
z_i, z_i z_j, each product of two coordinates once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import LOG_2PI, GaussianMixture, Kind

LOST = 1e6
"""How much larger than 1 the terms of Λ(z − μ)², written out, may be: 6 of 16 digits."""
SMALLEST = 1e-300  # a weight of 0 would make 0 · (−∞) of the entropy


@dataclass(frozen=True)
class Natural:
    """A mixture in the coordinates z, ready for a pass.

    rows: [K, P]. mean: [K, D]. root: Cholesky factors of the precisions [K, D, D], or the
    precisions' roots [K, D]. top: what was taken off every row. constant: log of each component's
    density at its mean, with its weight, less `top` [K].
    narrow: components that are computed by their factor. lost: the largest term of any other.
    """

    rows: Tensor
    mean: Tensor
    root: Tensor
    top: float
    constant: Tensor
    narrow: list[int]
    lost: float


def count_monomials(kind: Kind, width: int) -> int:
    """P: 1, z, and z zᵀ, or its diagonal, or nothing of it where all components share it."""
    return 1 + width + {"full": width * (width + 1) // 2, "tied": 0}.get(kind, width)


def write_naturally(
    mixture: GaussianMixture, coordinates: Coordinates, log_weight: Tensor | None = None
) -> Natural:
    """A mixture in such coordinates.  Raises RuntimeError where a covariance is
    not positive definite.

    log_weight: [K], in place of the mixture's own; they need not sum to 1.
    """
    A, D, kind = coordinates.matrix, mixture.width, mixture.kind
    mean = (mixture.mean - coordinates.centre) @ A.T
    covariance = mixture.expand()
    if mixture.has_matrices:
        lower = torch.linalg.cholesky(A @ covariance @ A.T)
        eye = torch.eye(D, dtype=torch.float64).expand_as(lower)
        root = torch.linalg.solve_triangular(lower, eye, upper=False)  # Λ = rootᵀ root
        precision = root.mT @ root
        log_det = root.diagonal(dim1=1, dim2=2).log().sum(1)
        linear = (precision @ mean[:, :, None])[:, :, 0]
        size = precision.diagonal(dim1=1, dim2=2).sum(1)
    else:
        root = (A.diagonal().square() * covariance).rsqrt()
        precision = root.square()
        log_det, linear, size = root.log().sum(1), precision * mean, precision.amax(1)
    if log_weight is None:
        log_weight = mixture.weight.clamp_min(SMALLEST).log()
    constant = log_weight + log_det - 0.5 * D * LOG_2PI
    top = float(constant.max())
    lost = size * mean.square().sum(1)
    narrow = [] if kind == "tied" else (lost > LOST).nonzero().flatten().tolist()
    rows = torch.empty(len(mean), count_monomials(kind, D), dtype=torch.float64)
    rows[:, 0] = constant - top - 0.5 * (linear * mean).sum(1)
    rows[:, 1 : 1 + D] = linear
    if kind == "full":
        i, j = torch.triu_indices(D, D)
        rows[:, 1 + D :] = -precision[:, i, j] * torch.where(i == j, 0.5, 1.0)
    elif kind != "tied":
        rows[:, 1 + D :] = -0.5 * precision
    return Natural(rows, mean, root, top, constant - top, narrow, float(lost.max()))


def write_products(F: Tensor, width: int) -> None:
    """z_i z_j for j ≥ i below z, into the monomials of full covariances.  F: [P, n]"""
    z, start = F[1 : 1 + width], 1 + width
    for i in range(width):
        torch.mul(z[i:], z[i], out=F[start : start + width - i])
        start += width - i
