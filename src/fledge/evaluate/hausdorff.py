"""How far two drawings are apart, without any idea of how they were drawn: the yardstick for
one-shot learning (modified Hausdorff distance, Dubuisson & Jain 1994, eq. 6 and d₆, f₂).
"""

from __future__ import annotations

import numpy as np


def measure_hausdorff(one: np.ndarray, other: np.ndarray) -> float:
    """The larger of two means: of each point of one, how far the nearest of the other is.
    [N, 2], [M, 2] -> in the points' unit
    """
    square = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    square = square.clip(min=0)
    there, back = np.sqrt(square.min(1)).mean(), np.sqrt(square.min(0)).mean()
    return float(max(there, back))


def list_ink(picture: np.ndarray) -> np.ndarray:
    """Where the ink is, about its middle.  [H, W] bool -> [N, 2] float64"""
    points = np.argwhere(picture).astype(float)
    return points - points.mean(0)


def compare_hausdorff(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """[N, H, W] and [M, H, W] bool -> [N, M], each known drawing from each that is asked."""
    rows, columns = ([list_ink(each) for each in several] for several in (known, asked))
    return np.array([[measure_hausdorff(a, b) for b in columns] for a in rows])
