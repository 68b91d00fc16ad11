"""Runs in a .csv, as people name its columns; what is no number is named by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.evaluate.scaling.point_file import read_points, write_points
from tests.evaluate.scaling.laws import make_runs


@pytest.mark.parametrize(
    "text",
    [
        "parameters,tokens,loss\n10,20,3\n",
        "x,Model Size,Training FLOP,colour,loss\n1,10,1200,#fff,3\n",
        "D,C,final_loss\n20,1200,3\n\n",
    ],
)
def test_two_of_parameters_tokens_and_flop(text: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(text)
    points = read_points(tmp_path / "runs.csv")
    assert [*points.parameters, *points.tokens, *points.loss, *points.flop] == [10, 20, 3, 1200]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    points = make_runs(0)
    write_points(tmp_path / "runs.csv", points)
    again = read_points(tmp_path / "runs.csv")
    assert np.array_equal(again.loss, points.loss)
    assert np.array_equal(again.tokens, points.tokens)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: give a line of names"),
        ("a,b\n1,2\n", "has the columns a, b: a law is fitted on `loss` and two of"),
        ("parameters,loss\n1,2\n", "has the columns parameters, loss"),
        ("n,d,loss\n1,2,3\n1,-2,3\n", "line 3 of .* has -2 as its d: give a number above 0"),
        ("n,d,loss\n1,2\n", "line 2 of .* has nothing as its loss"),
        ("n,d,loss\n1,2,nan\n", "has nan as its loss"),
    ],
)
def test_what_is_no_table_of_runs(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_points(tmp_path / "runs.csv")
