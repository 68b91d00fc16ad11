"""The M-step of a mixture of normals: weighted means and covariances, no narrower than allowed.

Bishop 2006, eqs. 9.24–9.26. A floor is a constraint, Σ_k ⪰ floor · S with S the data's own
covariance, and the maximum under it has the eigenvalues below the floor raised to it (in
coordinates where S is I): so EM still never lowers the likelihood, and a change of units changes
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import LOG_2PI, GaussianMixture, Kind
from fledge.models.latent.moments import Moments

EMPTY = 1e-2
"""Points, by weight, below which a component is empty: it keeps its shape, which no data tells."""


def maximise(
    moments: Moments,
    coordinates: Coordinates,
    kind: Kind,
    floor: float,
    points: float,
    previous: GaussianMixture | None = None,
) -> GaussianMixture:
    """argmax_θ Σ_n E_q log p(x_n, z_n; θ) under the floor.

    floor: the least variance along any direction, as a share of the data's there. points: how
    many, by weight, the moments stand for. previous: whose shape an empty component keeps.
    """
    total = moments.count.sum()
    count = moments.count.clamp_min(torch.finfo(moments.count.dtype).tiny)
    full = kind in ("full", "tied")
    apart = moments.first / count[:, None]  # [K, D]
    mean = moments.centre + apart
    if kind == "full":
        covariance = moments.second / count[:, None, None] - apart[:, :, None] * apart[:, None, :]
    elif kind == "tied":
        covariance = (moments.second - (apart * count[:, None]).T @ apart) / total
    else:
        covariance = moments.second / count[:, None] - apart.square()
    R = coordinates.inverse
    if full:
        covariance = R @ raise_to_floor(covariance, floor) @ R.T
    else:
        variance = R.diagonal().square()
        if kind == "diagonal":
            covariance = covariance.clamp_min(floor) * variance
        else:
            least = floor * float(variance.mean())
            covariance = (covariance * variance).mean(1).clamp_min(least)
    mean = coordinates.centre + mean @ R.T
    weight = moments.count / total
    empty = weight * points < EMPTY * min(1.0, points)
    if previous is not None and bool(empty.any()):
        mean[empty] = previous.mean[empty]
        if kind != "tied":
            covariance[empty] = previous.covariance[empty]
    return GaussianMixture(kind, weight, mean, covariance)


def lift(covariance: Tensor, coordinates: Coordinates, kind: Kind, floor: float) -> Tensor:
    """One component's covariance in the data's own coordinates, no narrower than the floor."""
    A, R = coordinates.matrix, coordinates.inverse
    if kind in ("full", "tied"):
        return R @ raise_to_floor(A @ covariance @ A.T, floor) @ R.T
    least = floor * R.diagonal().square()
    return (
        covariance.clamp_min(float(least.mean()))
        if kind == "spherical"
        else torch.maximum(covariance, least)
    )


def raise_to_floor(covariance: Tensor, floor: float) -> Tensor:
    """Eigenvalues below the floor become it.  [..., D, D] -> the same"""
    covariance = (covariance + covariance.mT) / 2
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    _, failed = torch.linalg.cholesky_ex(covariance - floor * eye)
    if not bool(failed.any()):  # nearly always, at a fiftieth of the cost
        return covariance
    value, vector = torch.linalg.eigh(covariance)
    raised = (vector * value.clamp_min(floor)[..., None, :]) @ vector.mT
    raised = torch.where((failed > 0)[..., None, None], raised, covariance)
    return (raised + raised.mT) / 2


def expected_log_joint(
    mixture: GaussianMixture, moments: Moments, coordinates: Coordinates
) -> float:
    """Q(θ) = Σ_n E_q log p(x_n, z_n; θ), of the moments alone, in nats; with their entropy the
    bound.
    """
    A, D = coordinates.matrix, mixture.width
    mean = (mixture.mean - coordinates.centre) @ A.T
    about = moments.move(mean).second
    covariance = mixture.expand()
    if mixture.has_matrices:
        lower = torch.linalg.cholesky(A @ covariance @ A.T)
        eye = torch.eye(D, dtype=torch.float64).expand_as(lower)
        root = torch.linalg.solve_triangular(lower, eye, upper=False)
        precision = root.mT @ root
        log_det = root.diagonal(dim1=1, dim2=2).log().sum(1)
        square = (precision[0] if about.ndim == 2 else precision) * about
    else:
        precision = 1 / (A.diagonal().square() * covariance)
        log_det, square = 0.5 * precision.log().sum(1), precision * about
    present = moments.count > 0
    weight = torch.where(present, mixture.weight, 1.0).log()
    linear = moments.count @ (weight + log_det - 0.5 * D * LOG_2PI + coordinates.log_det)
    return float(linear) - 0.5 * float(square.sum())
