"""Films as data: what is written is read, what is no film is named, and a film stays whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.images.films import FilmSet, are_films, encode_films, make_films, read_films

N, T, SIZE = 40, 3, (1, 4, 5)


def films(label: bool = True) -> FilmSet:
    random = np.random.default_rng(0)
    frames = torch.from_numpy(random.integers(0, 256, (N, T, *SIZE), dtype=np.uint8))
    action = torch.from_numpy(random.integers(0, 3, (N, T - 1)))
    labels = torch.from_numpy(random.integers(0, 2, (N, T))) if label else None
    return make_films(frames, action, labels, actions=("0", "1", "2"), names=("0", "1"))


@pytest.mark.parametrize("label", [True, False])
def test_what_is_written_is_read(label: bool, tmp_path: Path) -> None:
    given, path = films(label), tmp_path / "films.npz"
    path.write_bytes(encode_films(given))
    assert are_films(path)
    back = read_films(path)
    assert back.shape == given.shape
    assert back.actions == given.actions
    assert back.labelled == label
    for name, value in given.rows.items():
        assert torch.equal(getattr(back.rows, name), value), name


def test_frames_of_one_film_stay_on_one_side() -> None:
    given = films()
    parts = given.split()
    assert parts is not None
    assert sum(map(len, parts.values())) == N
    sides = [{x.numpy().tobytes() for x in each.as_pictures().rows.x} for each in parts.values()]
    assert sum(map(len, sides)) == N * T  # all frames differ, so that none is on two sides
    assert len(set.union(*sides)) == N * T


def test_frames_as_pictures_keep_their_labels() -> None:
    given = films()
    pictures = given.as_pictures()
    assert torch.equal(pictures.rows.x[T + 1], given.rows.frames[1, 1])
    assert pictures.rows.label[T + 1] == given.rows.label[1, 1]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"frames": np.zeros((4, 3, 1, 4, 4), np.float32)}, "float32: films are `frames`"),
        ({"frames": np.zeros((4, 3, 4, 4), np.uint8)}, r"\[4, 3, 4, 4\] of uint8"),
        ({"frames": np.zeros((4, 1, 1, 4, 4), np.uint8)}, "films of 1 frames"),
        ({"frames": np.zeros((4, 3, 2, 4, 4), np.uint8)}, "2 channels"),
        ({"action": np.zeros((4, 3), np.int64)}, r"`action` of shape \[4, 3\].*shape \[4, 2\]"),
        ({"action": np.full((4, 2), -1)}, "whole numbers from 0 on"),
        ({"label": np.zeros((4, 3))}, "type float64"),
    ],
)
def test_what_is_no_film_is_one_sentence(changed: dict, sentence: str, tmp_path: Path) -> None:
    arrays = {"frames": np.zeros((4, 3, 1, 4, 4), np.uint8), **changed}
    file = io.BytesIO()
    np.savez(file, **arrays)
    (tmp_path / "x.npz").write_bytes(file.getvalue())
    with pytest.raises(UserError, match=sentence):
        read_films(tmp_path / "x.npz")
