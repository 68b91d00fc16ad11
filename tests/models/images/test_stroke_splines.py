"""Splines beside SciPy's, and what must come back."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.models.images.stroke_splines import (
    CONTROLS,
    Part,
    fit_part,
    space_evenly,
    weigh_controls,
)

interpolate = pytest.importorskip("scipy.interpolate")


def test_the_basis_is_scipys_uniform_cubic() -> None:
    spline = interpolate.BSpline(np.arange(-3.0, CONTROLS + 1), np.eye(CONTROLS), 3)
    expected = spline(np.linspace(0, CONTROLS - 3, 32))
    assert np.allclose(weigh_controls(32), expected, atol=1e-12)
    assert np.allclose(weigh_controls(32).sum(1), 1)


def test_what_was_drawn_by_a_spline_is_fitted_by_it() -> None:
    controls = np.array([[0, 0], [10, 2], [14, 12], [8, 22], [-3, 20.0]])
    path = weigh_controls(400) @ controls
    part = fit_part(path)
    assert np.abs(part.shape.mean(0)).max() < 1e-9
    assert np.ptp(part.shape, axis=0).max() == pytest.approx(1)
    drawn = space_evenly(part.draw(path[0]), 60)
    assert np.abs(drawn - space_evenly(path, 60)).max() < 0.6  # pixels of about 35


@pytest.mark.parametrize("path", [[[3.0, 4.0]], [[3.0, 4.0], [3.0, 4.0]], [[0, 0], [30, 0.0]]])
def test_dots_and_lines_are_parts_too(path: list[list[float]]) -> None:
    part = fit_part(np.array(path))
    drawn = part.draw(np.array(path[0]))
    assert np.isfinite(drawn).all()
    assert np.abs(drawn[-1] - path[-1]).max() < 0.5


def test_a_part_begins_where_it_is_told() -> None:
    part = Part(np.array([[-0.5, 0], [-0.2, 0], [0, 0.1], [0.2, 0], [0.5, 0]]), 20.0)
    assert part.draw(np.array([7.0, 9.0]))[0].tolist() == [7, 9]
