"""Sub-strokes as splines: five control points, of what size, and where they begin.

A uniform cubic B-spline (Lake, Salakhutdinov & Tenenbaum 2015, supplement §2.1); its shape is that
of its control points with their middle taken away and its longer side made 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

CONTROLS = 5
DRAWN = 32  # points by which a spline is fitted, and drawn
SMALLEST = 1.0  # pixels of a side
RIDGE = 1e-3  # of the fit, without which the outer controls of straight lines drift off


@dataclass(frozen=True, eq=False)
class Part:
    """A sub-stroke. shape: [CONTROLS, 2], of middle 0 and longer side 1. size: pixels."""

    shape: np.ndarray
    size: float

    def draw(self, start: np.ndarray) -> np.ndarray:
        """From a point on.  -> [DRAWN, 2] pixels"""
        path = weigh_controls() @ (self.shape * self.size)
        return path - path[0] + start


@cache
def weigh_controls(points: int = DRAWN) -> np.ndarray:
    """How much of each control point is in each point of the curve, in even steps of its
    parameter; a row's sum is 1.  -> [points, CONTROLS]
    """
    place = np.linspace(0, CONTROLS - 3, points)
    segment = place.astype(int).clip(max=CONTROLS - 4)
    t = place - segment
    blend = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1
    )
    weights = np.zeros((points, CONTROLS))
    for k in range(4):
        weights[np.arange(points), segment + k] = blend[:, k] / 6
    return weights


@cache
def _solve() -> np.ndarray:
    """Controls out of points, by ridge regression towards the line of their middle."""
    weights = weigh_controls()
    bend = np.diff(np.eye(CONTROLS), 2, axis=0)
    gram = weights.T @ weights + RIDGE * bend.T @ bend
    return np.linalg.solve(gram, weights.T)


def fit_part(path: np.ndarray) -> Part:
    """The spline nearest to a path, whose points count by its length.  [L, 2] pixels"""
    controls = _solve() @ space_evenly(path, DRAWN)
    controls = controls - controls.mean(0)
    size = max(float(np.ptp(controls, axis=0).max()), SMALLEST)
    return Part(controls / size, size)


def space_evenly(path: np.ndarray, points: int) -> np.ndarray:
    """[L, 2] -> [points, 2], in even steps of length, ends included."""
    run = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
    place = np.linspace(0, run[-1], points)
    return np.stack([np.interp(place, run, path[:, axis]) for axis in (0, 1)], 1)


def measure_length(path: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
