"""Films of an agent: the pictures are the environment's, and the files are read back by means of
their own.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from fledge.images.png import encode_png
from fledge.report.frames import encode_animation, film, shrink
from tests.worlds import gym_examples

gym_examples.register()


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """The parts of a PNG file, each with its checksum checked."""
    assert file[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    place, parts = 8, []
    while place < len(file):
        (size,) = struct.unpack(">I", file[place : place + 4])
        kind, content = file[place + 4 : place + 8], file[place + 8 : place + 8 + size]
        assert (
            zlib.crc32(file[place + 4 : place + 8 + size])
            == struct.unpack(">I", file[place + 8 + size :][:4])[0]
        )
        parts.append((kind, content))
        place += 12 + size
    return parts


def pixels(packed: bytes, width: int, height: int) -> np.ndarray:
    rows = np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()  # no filter
    return rows[:, 1:].reshape(height, width, 3)


def shown(file: bytes) -> list[np.ndarray]:
    """The frames of an animation, as a reader shows them."""
    parts = chunks(file)
    width, height, *kind = struct.unpack(">IIBBBBB", parts[0][1])
    assert kind == [8, 2, 0, 0, 0]
    canvas, frames, expected = np.zeros((height, width, 3), dtype=np.uint8), [], 0
    w = h = left = top = 0
    for kind, content in parts[2:-1]:
        if kind == b"fcTL":
            number, w, h, left, top = struct.unpack(">IIIII", content[:20])
        else:
            number = expected if kind == b"IDAT" else struct.unpack(">I", content[:4])[0]
            packed = content if kind == b"IDAT" else content[4:]
            canvas[top : top + h, left : left + w] = pixels(packed, w, h)
            frames.append(canvas.copy())
        assert number == expected
        expected += kind != b"IDAT"
    assert parts[1] == (b"acTL", struct.pack(">II", len(frames), 0))
    assert parts[-1] == (b"IEND", b"")
    return frames


def noise(count: int, height: int = 13, width: int = 7) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def test_a_picture_is_read_back_as_it_was():
    (frame,) = noise(1)
    (_, header), (_, content), _ = chunks(encode_png(frame))
    assert struct.unpack(">II", header[:8]) == (7, 13)
    assert np.array_equal(pixels(content, 7, 13), frame)


def test_an_animation_is_read_back_as_it_was():
    frames = noise(3)
    frames.append(frames[-1].copy())  # nothing changes
    frames.append(frames[-1].copy())
    frames[-1][4, 5] = 0  # one pixel does
    frames.append(frames[-1].copy())
    frames[-1][2:9, 3:] ^= 255
    assert all(
        np.array_equal(a, b)
        for a, b in zip(shown(encode_animation(frames, 0.04)), frames, strict=True)
    )
    controls = [
        content for kind, content in chunks(encode_animation(frames, 0.04)) if kind == b"fcTL"
    ]
    sizes = [struct.unpack(">II", content[4:12]) for content in controls]
    assert sizes[-3:] == [(1, 1), (1, 1), (4, 7)]
    assert {struct.unpack(">HH", content[20:24]) for content in controls} == {(1, 25)}


def test_another_reader_sees_the_same():
    images = pytest.importorskip("PIL.Image")
    frames = noise(4)
    frames.append(frames[-1].copy())
    frames[-1][4:6, 5] = 9
    with images.open(io.BytesIO(encode_animation(frames, 0.04))) as file:
        assert file.n_frames == 5
        for i, frame in enumerate(frames):
            file.seek(i)
            assert file.info["duration"] == 40.0
            assert np.array_equal(np.asarray(file.convert("RGB")), frame)


@pytest.mark.parametrize(
    "frames", [[], [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)]]
)
def test_frames_that_do_not_fit_together_are_refused(frames):
    with pytest.raises(ValueError, match="one or more of one size"):
        encode_animation(frames, 0.1)


def test_a_large_picture_shrinks_by_whole_squares():
    frame = np.zeros((7, 5, 3), dtype=np.uint8)
    frame[0:2, 0:2] = [[[10, 0, 0], [20, 0, 0]], [[30, 0, 4], [40, 0, 4]]]
    frame[6] = 255  # no whole square: cut
    small = shrink(frame, 4)
    assert small.shape == (3, 2, 3)
    assert small[0, 0].tolist() == [25, 0, 2]
    assert small.sum() == 27
    assert np.array_equal(shrink(frame, 7), frame)


def test_a_film_shows_the_episode_that_was_played():
    pytest.importorskip("pygame")
    taken = []

    def best(obs):
        taken.append(obs.clone())
        return torch.tensor([1])

    made, why = film("CartPole-v1", best, seed=0, every=3)
    assert made is not None
    assert (why, made.whole, made.seconds) == ("", True, 3 / 50)
    steps = len(taken)
    assert made.earned == steps < 20  # pushed to one side, it falls
    assert len(made.frames) == 1 + -(-steps // 3)
    assert {frame.shape for frame in made.frames} == {(200, 300, 3)}
    env: Any = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    env.reset()
    env.unwrapped.state = taken[0][0].double().numpy()
    first = np.array(env.render()).reshape(200, 2, 300, 2, 3).mean((1, 3))
    env.close()
    assert np.abs(made.frames[0] - first).max() <= 0.5
    assert (made.frames[0] != made.frames[-1]).any()


def test_a_film_can_end_before_the_episode():
    pytest.importorskip("pygame")
    made, _ = film("Pendulum-v1", lambda obs: torch.zeros(1, 1), seed=0, longest=6, every=2)
    assert made is not None
    assert (len(made.frames), made.whole) == (4, False)


def test_without_a_library_that_draws_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    made, why = film("CartPole-v1", lambda obs: torch.tensor([1]), seed=0)
    assert made is None
    assert why.startswith("No pictures of CartPole-v1: pygame is not installed")
    assert "pip install -e '.[classic]'" in why


# Gymnasium's half-made viewer complains as it is thrown away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_opengl_there_is_a_reason(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setenv("MUJOCO_GL", "no such library")
    made, why = film("Hopper-v5", lambda obs: torch.zeros(1, 3), seed=0)
    assert made is None
    assert why.startswith("No pictures of Hopper-v5: RuntimeError: Environment variable MUJOCO_GL")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Test/Cut-v0", "No pictures of Test/Cut-v0: "),
        ("words:reverse", "No pictures of words:reverse: only environments of gymnasium are drawn"),
        ("nobodys", "No pictures of nobodys: Environment `nobodys` doesn't exist"),
    ],
)
def test_a_world_without_pictures_says_so(name, said):
    made, why = film(name, lambda obs: torch.tensor([0]), seed=0)
    assert made is None
    assert why.startswith(said)


def test_an_environment_that_fails_as_it_is_drawn_costs_the_pictures_and_nothing_else():
    picture, why = film("Test/DrawnAndRaising-v0", lambda obs: torch.tensor([0]), seed=0)
    assert picture is None
    assert "the gripper has come off" in why
