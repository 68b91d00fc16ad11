"""Cuts where the pen rested and where a path turns, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fledge.models.images.stroke_parts import cut_at_corners, cut_at_rests, measure_length


def draw(legs: list[tuple[float, float]], rest_ms: float) -> np.ndarray:
    """From (20, 20) by legs, 0.1 pixels a millisecond, resting between them.  -> [L, 3]"""
    points = [(20.0, 20.0, 0.0)]
    for i, (right, down) in enumerate(legs):
        x, y, t = points[-1]
        if i:
            points.append((x, y, t + rest_ms))
            t += rest_ms
        points.append((x + right, y + down, t + 10 * np.hypot(right, down)))
    return np.array(points, np.float32)


def test_a_rest_cuts_and_a_pen_that_goes_on_does_not() -> None:
    legs = [(40.0, 0.0), (0.0, 30.0), (-25.0, 0.0)]
    rested = cut_at_rests(draw(legs, 300))
    assert len(rested) == 3
    for part, (right, down) in zip(rested, legs, strict=True):
        assert np.abs(part[-1] - part[0] - (right, down)).max() < 4
    for one, after in pairwise(rested):
        assert (one[-1] == after[0]).all()
    assert len(cut_at_rests(draw(legs, 0))) == 1


def test_short_pieces_go_with_their_neighbour() -> None:
    assert len(cut_at_rests(draw([(40.0, 0.0), (3.0, 0.0)], 300))) == 1


def test_corners_cut_and_arcs_do_not() -> None:
    corner = np.array([[10, 10], [50, 10], [50, 60.0]])
    parts = cut_at_corners(corner)
    assert len(parts) == 2
    assert np.abs(parts[0][-1] - (50, 10)).max() < 2
    angle = np.linspace(0, np.pi, 80)
    arc = 50 + 25 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert len(cut_at_corners(arc)) == 1
    assert sum(map(measure_length, parts)) > 88


def test_a_dot_is_one_part() -> None:
    assert len(cut_at_rests(np.array([[5, 5, 0]], np.float32))) == 1
    assert len(cut_at_corners(np.array([[5.0, 5.0]]))) == 1
