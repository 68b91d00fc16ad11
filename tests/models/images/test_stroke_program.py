"""Relations of strokes that are known because they were drawn so."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.models.images.stroke_program import find_anchor, write_program
from tests.models.images.programs import letter_t, line


@pytest.mark.parametrize(
    ("start", "kind"),
    [((20, 21), "start"), ((79, 20), "end"), ((50, 22), "along"), ((50, 60), "independent")],
)
def test_a_stroke_begins_at_what_is_near(start: tuple[float, float], kind: str) -> None:
    first = line((20, 20), (80, 20))
    program = write_program([[first], [line(start, (start[0], start[1] + 20))]])
    relation = program.strokes[1].relation
    assert relation.kind == kind
    if kind != "independent":
        anchor = find_anchor(relation, program.strokes[:1])
        assert np.linalg.norm(anchor - start) < 6
    assert program.strokes[0].relation.kind == "independent"


def test_along_says_where() -> None:
    relation = letter_t().strokes[1].relation
    assert relation.kind == "along"
    assert relation.place == pytest.approx(0.5, abs=0.05)


def test_a_program_draws_what_it_was_written_from() -> None:
    bar, stem = letter_t().draw()
    assert np.abs(bar[0] - (20, 20)).max() < 1
    assert np.abs(bar[-1] - (80, 20)).max() < 1
    assert np.abs(stem[-1] - (50, 85)).max() < 1


def test_sub_strokes_hang_together() -> None:
    program = write_program([[line((20, 20), (60, 20)), line((60, 20), (60, 70))]])
    first, second = program.strokes[0].draw_parts()
    assert (first[-1] == second[0]).all()
