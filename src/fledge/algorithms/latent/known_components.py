"""Sums of a mixture of normals where the component of some points is known: the complete-data
likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

from fledge.algorithms.latent.gaussian_start import sum_by_label
from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind
from fledge.models.latent.moments import Moments
from fledge.rows.points import Points

BLOCK = 8_192  # points whose densities are held at a time


def sum_known(points: Points, coordinates: Coordinates, k: int, kind: Kind) -> Moments:
    """Of points that all have a label.  Raises UserError where a value is missing."""
    assert points.label is not None
    points.check_present("a point whose component is known")
    z = (points.x - coordinates.centre) @ coordinates.matrix.T
    return sum_by_label(z, points.label, k, kind, points.weight)


def expect_known(
    points: Points,
    model: GaussianMixture,
    coordinates: Coordinates,
    expect: Callable[[Points, GaussianMixture], tuple[Moments, float]],
) -> tuple[Moments, float]:
    """Known components stand; the others are inferred by `expect`. And Σ w log p(x, z) of the
    former, Σ w log p(x) of the latter.
    """
    assert points.label is not None
    known = points.label >= 0
    own, hidden = points.take(known), points.take(~known).without_labels()
    moments = sum_known(own, coordinates, model.components, model.kind)
    density = 0.0
    for part in range(0, len(own), BLOCK):
        some, label = own.take(slice(part, part + BLOCK)), points.label[known]
        joint = model.log_joint(some.x).gather(1, label[part : part + BLOCK, None])[:, 0]
        density += float(joint.sum() if some.weight is None else joint @ some.weight)
    if len(hidden):
        inferred, more = expect(hidden, model)
        moments, density = moments.mix(inferred, 1.0, 1.0), density + more
    return moments, density
