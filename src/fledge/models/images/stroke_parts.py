"""Strokes cut into sub-strokes: where the pen rested, of strokes whose times are known; at corners,
of strokes that were found in a picture.
"""

from __future__ import annotations

import numpy as np

from fledge.images.strokes import Stroke
from fledge.models.images.stroke_splines import measure_length, space_evenly

TICK_MS = 50.0  # between looks at the pen (Lake et al. 2015, supplement §2.1)
RESTS = 1.0  # pixels a tick: slower is a rest
REST_TICKS = 2  # a shorter one is a hand that is slow: Omniglot had strokes of 36 parts by it
SHORTEST = 5.0  # pixels: shorter sub-strokes go with their neighbour
CORNER = 1.0  # radians turned within `ARM` on either side
ARM = 6.0  # pixels


def cut_at_rests(stroke: Stroke) -> list[np.ndarray]:
    """[L, 3] -> sub-strokes, each [l, 2], that hang together: one begins where the last one
    ended.
    """
    points, times = stroke[:, :2].astype(float), stroke[:, 2].astype(float)
    ticks = int((times[-1] - times[0]) / TICK_MS)
    if ticks < 2:
        return [points]
    at = times[0] + TICK_MS * np.arange(ticks + 1)
    path = np.stack([np.interp(at, times, points[:, axis]) for axis in (0, 1)], 1)
    path = np.concatenate([path, points[-1:]])
    resting = np.linalg.norm(np.diff(path, axis=0), axis=1) < RESTS
    middles: list[int] = []
    start = None
    for i, rests in enumerate([*resting, False]):
        if rests and start is None:
            start = i
        elif not rests and start is not None:
            if start > 0 and i < len(resting) and i - start >= REST_TICKS:
                middles.append((start + i) // 2)
            start = None
    return cut_at(path, middles)


def cut_at_corners(path: np.ndarray) -> list[np.ndarray]:
    """[L, 2] -> the same, cut where it turns sharpest and by more than `CORNER`."""
    length = measure_length(path)
    if length < 2 * ARM:
        return [path]
    pieces = round(length)
    even = space_evenly(path, pieces + 1)
    arm = round(ARM)
    before, after = even[arm:-arm] - even[: -2 * arm], even[2 * arm :] - even[arm:-arm]
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turned = np.abs(np.arctan2(cross, (before * after).sum(1)))
    corners: list[int] = []
    while turned.max() > CORNER:
        place = int(turned.argmax())
        corners.append(place + arm)
        turned[max(0, place - arm) : place + arm + 1] = 0
    return cut_at(even, sorted(corners))


def cut_at(path: np.ndarray, places: list[int]) -> list[np.ndarray]:
    """At points of the path, but for cuts that leave less than `SHORTEST`."""
    parts: list[np.ndarray] = []
    start = 0
    for place in places:
        enough = measure_length(path[start : place + 1]) >= SHORTEST
        if enough and measure_length(path[place:]) >= SHORTEST:
            parts.append(path[start : place + 1])
            start = place
    return [*parts, path[start:]]
