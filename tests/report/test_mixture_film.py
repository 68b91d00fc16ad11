"""The film of EM is an SVG that any reader of XML takes, and shows what it was given."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from fledge.report.animation import COLOURS
from fledge.report.mixture_film import Frame, draw_film

SVG = "{http://www.w3.org/2000/svg}"
POINTS = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 10.0]])


def a_frame(step: int, mean: float, share: float) -> Frame:
    """Two components; the first point is of the first by `share`."""
    r = np.array([[share, 1 - share], [0, 1], [0.5, 0.5]])
    covariance = np.stack([np.diag([4.0, 1.0]), np.eye(2)])
    return Frame(step, np.array([0.3, 0.7]), np.array([[mean, 5.0], [5, 5]]), covariance, r)


def test_it_shows_components_and_points_as_they_were() -> None:
    frames = [a_frame(0, 0, 0.5), a_frame(4, 5, 1.0), a_frame(9, 10, 1.0)]
    film = ElementTree.fromstring(draw_film(POINTS, frames, ("a<b", "c&d"), "EM"))
    groups = film.findall(f"{SVG}g")
    assert len(groups) == 2
    # the middle of the points is the middle of the picture, and 5 to the right is 5 · scale
    scale = (210 - 24) / (10 * 0.54)
    moved = groups[0].find(f"{SVG}animateTransform")
    assert moved is not None
    places = [[float(n) for n in each.split()] for each in moved.attrib["values"].split(";")]
    wanted = [[210 - 5 * scale, 210], [210, 210], [210 + 5 * scale, 210]]
    np.testing.assert_allclose(places, [*wanted, wanted[-1]], atol=0.06)
    ellipse = groups[0].find(f"{SVG}ellipse")
    assert ellipse is not None
    assert float(ellipse.attrib["rx"]) == pytest.approx(2 * 2 * scale, abs=0.06)
    assert float(ellipse.attrib["ry"]) == pytest.approx(2 * 1 * scale, abs=0.06)
    circles = film.findall(f"{SVG}circle")
    assert len(circles) == 3
    first = circles[0].find(f"{SVG}animate")
    assert first is not None
    assert len(set(first.attrib["values"].split(";"))) == 2
    shown = [round(int(digit, 16) * 17) for digit in circles[1].attrib["fill"][1:]]
    own = [int(COLOURS[1][i : i + 2], 16) for i in (1, 3, 5)]
    np.testing.assert_allclose(shown, own, atol=9)
    said = [each.text for each in film.iter(f"{SVG}text")]
    assert {"a<b", "c&d", "step 9"} <= set(said)


def test_what_does_not_change_does_not_move() -> None:
    film = ElementTree.fromstring(draw_film(POINTS, [a_frame(1, 5, 1.0)] * 2, ("a", "b"), "EM"))
    assert all(circle.find(f"{SVG}animate") is None for circle in film.findall(f"{SVG}circle"))


def test_points_on_one_another_have_a_picture() -> None:
    flat = np.zeros((3, 2))
    ElementTree.fromstring(draw_film(flat, [a_frame(0, 0, 1.0)], ("a", "b"), "EM"))
