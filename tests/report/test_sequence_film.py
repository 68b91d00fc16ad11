"""The film of a sequence shows what was observed, and what was inferred at each step."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from fledge.report.sequence_film import HEIGHT, MARGIN, STRIP, SequenceFrame, draw_sequence_film

SVG = "{http://www.w3.org/2000/svg}"
OBSERVED = np.array([0.0, np.nan, 10.0, 5.0])
BOTTOM, TOP = HEIGHT - MARGIN - 2 * STRIP, MARGIN


def test_states_are_colours_of_dots_and_of_a_strip() -> None:
    shares = [np.full((4, 2), 0.5), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])]
    frames = [SequenceFrame(n, share=share) for n, share in enumerate(shares)]
    film = ElementTree.fromstring(draw_sequence_film(OBSERVED, frames, "a<b", "EM"))
    circles, rects = film.findall(f"{SVG}circle"), film.findall(f"{SVG}rect")[1:]
    assert len(circles) == 3  # what is missing has no dot, and yet a state
    assert len(rects) == 4
    heights = [float(circle.attrib["cy"]) for circle in circles]
    assert heights == pytest.approx([BOTTOM, TOP, (BOTTOM + TOP) / 2], abs=0.06)
    fills = [rect.attrib["fill"] for rect in rects]
    assert fills[0] == fills[1] != fills[2] == fills[3]
    moved = rects[0].find(f"{SVG}animate")
    assert moved is not None
    assert len(set(moved.attrib["values"].split(";"))) == 2
    said = [each.text for each in film.iter(f"{SVG}text")]
    assert {"a<b", "step 1", "time, 4 steps"} <= set(said)


def test_a_smoother_is_a_line_in_a_band() -> None:
    line = np.array([0.0, 5.0, 10.0, 5.0])
    frames = [
        SequenceFrame(step, mean=line, low=line - wide, high=line + wide)
        for step, wide in ((0, 5), (3, 1))
    ]
    film = ElementTree.fromstring(draw_sequence_film(OBSERVED, frames, "x", "EM"))
    band, drawn = film.find(f"{SVG}polygon"), film.find(f"{SVG}polyline")
    assert band is not None
    assert drawn is not None
    points = np.array([each.split(",") for each in band.attrib["points"].split()], dtype=float)
    # −5 … 15 is the range of all frames; the last band is one above and one below
    scale = (BOTTOM - TOP) / 20
    high, low = points[:4, 1], points[4:, 1][::-1]
    np.testing.assert_allclose(low - high, 2 * scale, atol=0.2)
    middle = np.array([each.split(",")[1] for each in drawn.attrib["points"].split()], dtype=float)
    np.testing.assert_allclose(middle, BOTTOM - (line + 5) * scale, atol=0.1)
    assert len(film.findall(f"{SVG}circle")) == 3
