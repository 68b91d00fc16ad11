"""One-shot runs: what is read, and one sentence for each that is not whole."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.images.one_shot import read_runs
from fledge.images.png import encode_png

LABELS = "run01/test/item01.png run01/training/class02.png\n"


def picture(column: int, side: int = 20) -> bytes:
    """A vertical line, black on white."""
    pixels = np.full((side, side, 1), 255, np.uint8)
    pixels[3:17, column] = 0
    return encode_png(pixels)


@pytest.fixture
def files() -> dict[str, bytes]:
    return {
        "run01/class_labels.txt": LABELS.encode(),
        "run01/test/item01.png": picture(7),
        "run01/training/class01.png": picture(3),
        "run01/training/class02.png": picture(8),
        "__MACOSX/run01/test/._item01.png": b"\x00",
        "run01/.DS_Store": b"\x00",
    }


def write(path: Path, files: dict[str, bytes]) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, each in files.items():
            archive.writestr(name, each)
    path.write_bytes(content.getvalue())
    return path


def test_a_run_of_a_zip_or_a_folder(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / name).write_bytes(content)
    for path in (write(tmp_path / "all.zip", files), tmp_path / "runs"):
        [run] = read_runs(path)
        assert run.name == "run01"
        assert run.answer.tolist() == [1]
        assert run.known.shape == (2, 20, 20)
        assert run.asked.shape == (1, 20, 20)
        assert run.known[1, 3:17, 8].all()
        assert run.known[1].sum() == 14


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run01/class_labels.txt": b"one two three\n"}, "line 1 .* give two files"),
        ({"run01/class_labels.txt": b"\n"}, "is empty"),
        ({"run01/class_labels.txt": LABELS.replace("02", "09").encode()}, "has no .*class09.png"),
        ({"run01/class_labels.txt": LABELS.replace("item01", "x").encode()}, "has no .*x.png"),
        ({"run01/test/item01.png": picture(7, side=30)}, "20 × 20 and 30 × 30"),
        ({"run01/test/item01.png": b"\x89PNG broken"}, "no picture that can be read"),
        (
            {"run01/test/item01.png": encode_png(np.full((20, 20, 1), 255, np.uint8))},
            "no drawing on it",
        ),
    ],
)
def test_what_is_not_whole_is_said(
    tmp_path: Path, files: dict[str, bytes], change: dict[str, bytes], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read_runs(write(tmp_path / "all.zip", files | change))


def test_what_is_no_run(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="there is no"):
        read_runs(tmp_path / "nowhere.zip")
    del files["run01/class_labels.txt"]
    with pytest.raises(UserError, match="holds no one-shot run"):
        read_runs(write(tmp_path / "all.zip", files))
    (tmp_path / "bad.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="cannot be read"):
        read_runs(tmp_path / "bad.zip")
