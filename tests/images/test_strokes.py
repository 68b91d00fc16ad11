"""Stroke files: what is read, and one sentence for each that is none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.images.reading import read_pictures
from fledge.images.scribbles import draw_scribbles
from fledge.images.strokes import Drawings, parse_strokes, read_strokes

DRAWING = "START\n10,-20,0\n40,-20,300\nBREAK\n25,-20,900\n25,-60,1300\nBREAK\n"


@pytest.fixture
def files() -> dict[str, str]:
    return {
        "strokes/Latin/character01/0001_01.txt": DRAWING,
        "strokes/Latin/character02/0002_01.txt": "START\n5,-5,0\n9,-9,10\nBREAK\n",
        "strokes/Greek/character01/0003_01.txt": "START\n50,-50,0\nBREAK\n",
    }


def write_zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_zip_and_a_folder_give_the_same(tmp_path: Path, files: dict[str, str]) -> None:
    noise = {"__MACOSX/strokes/._x.txt": "\x00", "strokes/.DS_Store": "\x00"}
    packed = read_pictures(write_zip(tmp_path / "strokes.zip", files | noise))
    for name, text in files.items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_text(text)
    unpacked = read_pictures(tmp_path / "unpacked")
    assert packed.shape == unpacked.shape
    assert packed.shape.names == ("Greek/character01", "Latin/character01", "Latin/character02")
    assert isinstance(packed.rows, Drawings)
    for (_, one), (_, other) in zip(packed.rows.items(), unpacked.rows.items(), strict=True):
        assert (one == other).all()
    place = packed.rows.label.tolist().index(1)
    first, second = packed.rows.strokes_of(place)
    assert first.tolist() == [[10, 20, 0], [40, 20, 300]]
    assert second.tolist() == [[25, 20, 900], [25, 60, 1300]]
    picture = packed.rows.x[place, 0]
    assert picture[20, 12:38].all()
    assert picture[24:58, 25].all()
    assert picture[60:, :20].sum() == 0


def test_what_is_taken_of_drawings_keeps_its_strokes() -> None:
    given = draw_scribbles(characters=4, hands=10)
    parts = given.split()
    assert parts is not None
    assert sum(len(part) for part in parts.values()) == 40
    for part in parts.values():
        assert isinstance(part.rows, Drawings)
        for row in range(len(part)):
            for x, y in np.concatenate(part.rows.strokes_of(row))[:, :2].round().astype(int):
                assert part.rows.x[row, 0, y.clip(0, 104), x.clip(0, 104)] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("START\n1,2\nBREAK", r"line 2 is “1,2”: a point is three numbers"),
        ("START\n1,-2,x", r"line 2 .* three numbers"),
        ("START\n1,nan,3", r"line 2 .* three numbers"),
        ("START\n1000,-2,3", r"line 2 .* far off the paper"),
        ("START\nBREAK\n", r"has no point"),
    ],
)
def test_what_is_no_drawing_is_said_with_its_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_strokes(text, "a.txt")


def test_a_folder_without_drawings_and_a_broken_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no drawing"):
        read_strokes(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="cannot be read"):
        read_pictures(tmp_path / "a.zip")
