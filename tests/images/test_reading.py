"""Pictures out of files: what is read is what was written, and what cannot be read is said."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fledge.errors import UserError
from fledge.images.pictures import UNKNOWN
from fledge.images.reading import read_pictures

RANDOM = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_the_embedded_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs: Any = load_digits()
    ours = read_pictures("digits")
    assert np.array_equal(ours.rows.x[:, 0].numpy(), theirs.images)
    assert np.array_equal(ours.rows.label.numpy(), theirs.target)
    assert ours.shape.levels == 17
    assert ours.shape.names == tuple("0123456789")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_with_its_labels(tmp_path: Path, ending: str) -> None:
    x = RANDOM.integers(0, 256, (30, 5, 4), dtype=np.uint8)
    y = RANDOM.integers(0, 3, 30).astype(np.uint8)
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{ending}", x)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{ending}", y)
    read = read_pictures(tmp_path / f"t10k-images-idx3-ubyte{ending}")
    assert np.array_equal(read.rows.x[:, 0].numpy(), x)
    assert np.array_equal(read.rows.label.numpy(), y)
    assert read.shape.levels == 256


def test_an_idx_file_alone_has_no_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "some-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    read = read_pictures(tmp_path / "some-idx3-ubyte")
    assert not read.labelled
    assert (read.rows.label == UNKNOWN).all()


def test_arrays_in_every_order_of_channels_are_one_set(tmp_path: Path) -> None:
    x = RANDOM.integers(0, 256, (6, 3, 5, 7), dtype=np.uint8)
    np.save(tmp_path / "first.npy", x)
    np.save(tmp_path / "last.npy", x.transpose(0, 2, 3, 1))
    save_file({"images": x, "labels": np.arange(6) % 2}, tmp_path / "both.safetensors")
    for name in ("first.npy", "last.npy", "both.safetensors"):
        assert np.array_equal(read_pictures(tmp_path / name).rows.x.numpy(), x)
    assert read_pictures(tmp_path / "both.safetensors").shape.names == ("0", "1")


def test_floats_are_rounded_to_bytes_and_booleans_are_two_levels(tmp_path: Path) -> None:
    np.save(tmp_path / "float.npy", np.array([[[0.0, 1.0], [0.5, 0.2]]]))
    np.save(tmp_path / "bool.npy", np.array([[[True, False]]]))
    assert read_pictures(tmp_path / "float.npy").rows.x.flatten().tolist() == [0, 255, 128, 51]
    assert read_pictures(tmp_path / "bool.npy").shape.levels == 2


def test_a_folder_and_its_archive_are_read_alike(tmp_path: Path) -> None:
    pixels = {
        f"{label}/{n}.png": RANDOM.integers(0, 256, (4, 6), dtype=np.uint8)
        for label in ("cats", "dogs")
        for n in range(3)
    }
    for name, each in pixels.items():
        write_picture(tmp_path / "folder" / name, each)
    with zipfile.ZipFile(tmp_path / "folder.zip", "w") as archive:
        for name in pixels:
            archive.write(tmp_path / "folder" / name, name)
    for source in ("folder", "folder.zip"):
        read = read_pictures(tmp_path / source)
        assert read.shape.names == ("cats", "dogs")
        assert read.rows.label.tolist() == [0, 0, 0, 1, 1, 1]
        wanted = np.stack([pixels[name] for name in sorted(pixels)])
        assert np.array_equal(read.rows.x[:, 0].numpy(), wanted)


def test_colour_stays_and_grey_that_is_written_as_colour_is_one_channel(tmp_path: Path) -> None:
    colour = RANDOM.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    write_picture(tmp_path / "colour" / "a.png", colour)
    write_picture(tmp_path / "grey" / "a.png", np.repeat(colour[:, :, :1], 3, 2))
    through = np.concatenate([colour, np.zeros((4, 4, 1), np.uint8)], 2)
    write_picture(tmp_path / "through" / "a.png", through)
    read = read_pictures(tmp_path / "colour").rows.x[0]
    assert np.array_equal(read.permute(1, 2, 0).numpy(), colour)
    assert read_pictures(tmp_path / "grey").shape.channels == 1
    assert (read_pictures(tmp_path / "through").rows.x == 255).all()  # white, seen through


def say(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_pictures(path)
    return str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "there is no" in say(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in say(tmp_path / "empty")
    write_picture(tmp_path / "two" / "a.png", np.zeros((4, 4), np.uint8))
    write_picture(tmp_path / "two" / "b.png", np.zeros((4, 5), np.uint8))
    assert "b.png is 4 × 5" in say(tmp_path / "two")
    write_picture(tmp_path / "broken" / "a.png", RANDOM.integers(0, 255, (9, 9), dtype=np.uint8))
    whole = (tmp_path / "broken" / "a.png").read_bytes()
    (tmp_path / "broken" / "a.png").write_bytes(whole[:-30])
    assert "a.png is no picture that can be read" in say(tmp_path / "broken")
    (tmp_path / "text.txt").write_text("no picture")
    assert "of no kind that is read" in say(tmp_path / "text.txt")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((5, 8, 8, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((5,), np.uint8), "pictures are [N, H, W]"),
        (np.full((2, 3, 3), 1.5), "numbers from 1.5 to 1.5: give numbers from 0 to 1"),
        (np.full((2, 3, 3), np.nan), "from nan to nan"),
        (np.full((2, 3, 3), -1), "whole numbers from -1 to -1"),
        (np.zeros((0, 3, 3), np.uint8), "holds no picture"),
        (np.zeros((2, 3, 3), complex), "array of complex128"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    assert said in say(tmp_path / "x.npy")


def test_idx_files_that_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "x-images-idx3-ubyte"
    write_idx(path, np.zeros((4, 3, 3), np.uint8))
    whole = path.read_bytes()
    for content, said in (
        (whole[:-1], "35 in place of 36"),
        (whole[:7], "ends within its header"),
        (b"PK" + whole[2:], "is no IDX file"),
        (whole[:2] + b"\x0d" + whole[3:], "holds floats"),
        (gzip.compress(whole)[:20], "cannot be read"),
    ):
        path.write_bytes(content)
        assert said in say(path)
    path.write_bytes(whole)
    write_idx(tmp_path / "x-labels-idx1-ubyte", np.zeros(3, np.uint8))
    assert "has 3 labels" in say(path)


def test_parts_are_apart_by_content_and_stay_where_they_are() -> None:
    given = read_pictures("digits")
    parts = given.split()
    assert parts is not None
    assert sum(map(len, parts.values())) == len(given)
    reversed_parts = given.take(torch.arange(len(given) - 1, -1, -1)).split()
    assert reversed_parts is not None
    for split, part in parts.items():
        own = {x.numpy().tobytes() for x in part.rows.x}
        assert own == {x.numpy().tobytes() for x in reversed_parts[split].rows.x}
        for other, another in parts.items():
            if other != split:
                assert not own & {x.numpy().tobytes() for x in another.rows.x}
