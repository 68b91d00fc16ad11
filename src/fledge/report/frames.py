"""Pictures of an agent at work: one episode of one environment, drawn step by step, as PNG and as
an animation that browsers play.

The animation is APNG, PNG with further frames (W3C PNG, third edition, 2025, section 11.3.6): every
frame after the first is only the rectangle that has changed. Written here, so that a report needs
no picture library.
"""

from __future__ import annotations

import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from fledge.errors import UserError
from fledge.images.png import SIGNATURE, encode_chunk, encode_header, pack_pixels
from fledge.user_code import contain, describe_deed
from fledge.worlds.make import FAMILIES, name_of
from fledge.worlds.units import put_in_units

if TYPE_CHECKING:
    from fledge.worlds.gym import GymWorld
    from fledge.worlds.own import WorldMaker

LARGEST = 320  # pixels of a frame's longer side: a report is one file, and is sent around


@dataclass(frozen=True)
class Film:
    """frames: [H, W, 3] uint8 each, the first before anything was done. seconds: for which each is
    shown.
    """

    frames: list[np.ndarray]
    seconds: float
    earned: float  # reward of the steps that were filmed
    whole: bool  # whether the episode ended within them


class _NotDrawn(Exception):
    """Why, in a few words."""


def film(
    given: str | WorldMaker,
    best: Callable[[Tensor], Tensor],
    *,
    seed: int,
    longest: int = 500,
    every: int = 2,
) -> tuple[Film | None, str]:
    """One episode of an environment of gymnasium's, or of one's own, under `best`, at most
    `longest` steps, every `every`-th of them drawn.

    best: obs [1, *O] -> action [1, *A]. Returns the film and "", or None and a sentence that says
    why there is none: no library that draws, no OpenGL, an environment that has no pictures, or
    that fails as it is drawn.
    """
    world, name = None, name_of(given)
    try:
        with _draw_without_a_screen():
            world = _open_world(name, None if isinstance(given, str) else given)
            acted_in = put_in_units(world)
            obs = acted_in.reset(seed)
            frames, earned, over = [_draw(world)], 0.0, False
            for step in range(1, longest + 1):
                after = acted_in.step(best(obs))
                obs, earned = after.obs, earned + float(after.reward)
                over = bool(after.terminated | after.truncated)
                if step % every == 0 or over:
                    frames.append(_draw(world))
                    if frames[-1].shape != frames[0].shape:
                        raise _NotDrawn("its pictures change their size.")
                if over:
                    break
            return Film(frames, every / world.frames_per_second, earned, over), ""
    except (_NotDrawn, UserError) as error:
        return None, f"No pictures of {name}: {error}"
    finally:
        if world is not None:
            world.close()


def _open_world(name: str, maker: WorldMaker | None) -> GymWorld:
    if name.partition(":")[0] in FAMILIES:
        raise _NotDrawn("only environments of gymnasium are drawn.")
    try:
        from gymnasium.error import Error

        from fledge.worlds.gym import GymWorld
    except ImportError as error:
        raise _NotDrawn(f"{error}: pip install gymnasium") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it cannot be drawn: that becomes our sentence
            return GymWorld(name, 1, pictures=True, maker=maker)
    except (UserError, Error) as error:
        raise _NotDrawn(str(error)) from error


@contextmanager
def _draw_without_a_screen() -> Iterator[None]:
    """On a Linux machine that shows nothing, MuJoCo draws by EGL and pygame to nowhere, unless the
    user has said otherwise.
    """
    wanted = {}
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        wanted = {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy"}
    mine = [variable for variable in wanted if variable not in os.environ]
    os.environ.update({variable: wanted[variable] for variable in mine})
    try:
        yield
    finally:
        for variable in mine:
            del os.environ[variable]


def _draw(world: GymWorld) -> np.ndarray:
    from gymnasium.error import DependencyNotInstalled

    with contain() as is_interrupt:
        try:
            drawn = world.picture()
        except DependencyNotInstalled as error:
            raise _NotDrawn(
                f"{error}. In a clone of fledge: pip install -e '.[classic]'"
            ) from error
        except (
            BaseException
        ) as error:  # whatever is raised: a run must not end for want of a picture
            if is_interrupt(error):
                raise
            raise _NotDrawn(f"{describe_deed(error).removeprefix('raised ')}.") from error
    if drawn.dtype != np.uint8 or drawn.ndim != 3 or drawn.shape[2] != 3 or not drawn.size:
        raise _NotDrawn("it draws no picture in red, green and blue.")
    return shrink(drawn)


def shrink(frame: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """The frame with its longer side at most `largest`, every k × k pixels made one; what is left
    at the edges is cut.

    [H, W, 3] -> [H // k, W // k, 3]
    """
    k = -(-max(frame.shape[:2]) // largest)
    if k == 1:
        return frame.copy()
    height, width = frame.shape[0] // k, frame.shape[1] // k
    squares = frame[: height * k, : width * k].reshape(height, k, width, k, 3)
    return squares.mean((1, 3)).round().astype(np.uint8)


def encode_animation(frames: Sequence[np.ndarray], seconds: float) -> bytes:
    """Frames [H, W, 3] uint8, each shown for `seconds`, again and again -> the file's content;
    readers without APNG show the first.

    Raises ValueError for no frames or frames of several sizes.
    """
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError(
            f"{len(frames)} frames of {len({f.shape for f in frames})} sizes: one or more of one "
            "size."
        )
    delay = Fraction(seconds).limit_denominator(1000)
    file = (
        SIGNATURE
        + encode_header(frames[0].shape[1], frames[0].shape[0], 3)
        + encode_chunk(b"acTL", struct.pack(">II", len(frames), 0))
    )
    number = 0  # of the chunks that make up the animation, in order
    for i, frame in enumerate(frames):
        top, left, part = (0, 0, frame) if i == 0 else _cut_change(frames[i - 1], frame)
        place = struct.pack(">IIII", part.shape[1], part.shape[0], left, top)
        file += encode_chunk(
            b"fcTL",
            struct.pack(">I", number)
            + place
            + struct.pack(">HHBB", *delay.as_integer_ratio(), 0, 0),
        )
        number += 1
        if i == 0:
            file += encode_chunk(b"IDAT", pack_pixels(part))
        else:
            file += encode_chunk(b"fdAT", struct.pack(">I", number) + pack_pixels(part))
            number += 1
    return file + encode_chunk(b"IEND", b"")


def _cut_change(before: np.ndarray, after: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Top, left and content of the smallest rectangle that holds every change; one pixel where
    there is none.
    """
    differs = (before != after).any(2)
    if not differs.any():
        return 0, 0, after[:1, :1]
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return (
        int(rows[0]),
        int(columns[0]),
        after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
    )
