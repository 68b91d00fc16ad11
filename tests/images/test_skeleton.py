"""Graphs of skeletons that can be drawn by hand."""

from __future__ import annotations

import numpy as np

from fledge.images.skeleton import trace
from fledge.images.thinning import thin


def paper() -> np.ndarray:
    return np.zeros((61, 61), bool)


def test_a_cross_has_four_lines_that_meet_in_one_node() -> None:
    ink = paper()
    ink[30, 10:51] = True
    ink[10:51, 30] = True
    skeleton = trace(ink)
    assert len(skeleton.nodes) == 5
    assert len(skeleton.lines) == 4
    degree = np.bincount([n for line in skeleton.lines for n in (line.first, line.last)])
    assert sorted(degree) == [1, 1, 1, 1, 4]
    assert np.allclose(skeleton.nodes[degree.argmax()], (30, 30), atol=1)
    for line in skeleton.lines:
        assert 19 <= line.length <= 21
        assert np.array_equal(line.path[0], skeleton.nodes[line.first])
        assert np.array_equal(line.path[-1], skeleton.nodes[line.last])


def test_a_line_has_two_ends_and_a_ring_one_node() -> None:
    ink = paper()
    ink[5, 5:26] = True
    ink[20:41, 20] = ink[20:41, 40] = True
    ink[20, 20:41] = ink[40, 20:41] = True
    skeleton = trace(ink)
    ring = [line for line in skeleton.lines if line.first == line.last]
    assert len(skeleton.lines) == 2
    assert len(ring) == 1
    assert ring[0].length > 70  # 80 of a square, less its corners
    [straight] = [line for line in skeleton.lines if line.first != line.last]
    assert straight.length == 20


def test_a_dot_is_a_line_of_one_point() -> None:
    ink = paper()
    ink[12, 40] = True
    [dot] = trace(ink).lines
    assert dot.path.tolist() == [[40, 12]]
    assert dot.length == 0


def test_spurs_go_and_what_they_parted_is_one_line() -> None:
    ink = paper()
    ink[30, 10:51] = True
    ink[28:30, 25] = True
    [line] = trace(ink).lines
    assert abs(line.length - 40) <= 2


def test_crossings_within_the_width_of_a_pen_are_one() -> None:
    ink = paper()
    ink[30, 10:51] = True
    ink[10:31, 28] = True  # from above at 28, from below at 32
    ink[30:51, 32] = True
    skeleton = trace(ink)
    assert len(skeleton.lines) == 4
    assert len(skeleton.nodes) == 5


def test_every_pixel_of_a_drawing_is_near_a_line() -> None:
    rows, columns = np.mgrid[:61, :61]
    around = np.hypot(rows - 25, columns - 30)
    ink = (np.abs(around - 15) < 2.5) | ((np.abs(columns - 30) < 2.5) & (rows > 25) & (rows < 58))
    thinned = thin(ink)
    paths = np.concatenate([line.path for line in trace(thinned).lines])
    apart = np.linalg.norm(np.argwhere(thinned)[:, None, ::-1] - paths, axis=2).min(1)
    assert apart.max() <= 3.5
