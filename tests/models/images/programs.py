"""What the tests of programs are tried on: letters drawn by hand, and priors with known numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from fledge.models.images.program_prior import ProgramPrior
from fledge.models.images.programs import make_even_prior
from fledge.models.images.stroke_program import Program, write_program


def line(*points: tuple[float, float]) -> np.ndarray:
    """A point each pixel, through those given.  -> [L, 2]"""
    legs = [np.array(p, float) for p in points]
    path = [legs[0][None]]
    for a, b in pairwise(legs):
        steps = max(1, round(float(np.linalg.norm(b - a))))
        path.append(a + (b - a) * (np.arange(1, steps + 1) / steps)[:, None])
    return np.concatenate(path)


def letter_t() -> Program:
    """A bar, and a stem from its middle."""
    return write_program([[line((20, 20), (80, 20))], [line((50, 20), (50, 85))]])


def random_prior(seed: int, primitives: int) -> ProgramPrior:
    """No two of its numbers alike."""
    random = np.random.default_rng(seed)
    even = make_even_prior(primitives)

    def draw(like: np.ndarray) -> np.ndarray:
        return random.dirichlet(np.full(like.shape[-1], 2.0), like.shape[:-1])

    start = random.dirichlet(np.full(even.start[0].size, 2.0), 2).reshape(even.start.shape)
    return replace(
        even, strokes=draw(even.strokes), parts=draw(even.parts), first=draw(even.first),
        following=draw(even.following), relation=draw(even.relation), start=start,
        shape_mean=random.normal(0, 0.3, even.shape_mean.shape),
        shape_variance=random.uniform(0.05, 0.2, even.shape_variance.shape),
        size_mean=random.normal(3, 0.5, primitives),
        size_variance=random.uniform(0.2, 1, primitives), attached=np.array(1.7),
    )  # fmt: skip
