"""Gymnasium's spaces as ours, and arrays across: what n copies show, and what they are told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.world import SMALLEST_PICTURE, Box, Choices, Space

ShowObservation = Callable[[np.ndarray], Tensor]  # as gymnasium has it [n, …] -> [n, *O]
TellAction = Callable[[Tensor], np.ndarray]  # [n, *A] -> as gymnasium wants it [n, …]


def translate_observations(space: spaces.Space, name: str) -> tuple[Space, ShowObservation]:
    """What a world shows. Numbers come as float32 and choices as int64 from 0; pictures stay uint8
    and come as [C, H, W].

    Boards and pictures too small for a convolution come as one row of numbers, their own range
    brought to 0…1. Raises UserError, with the world's `name`, for anything else (Text, Graph …;
    Dict and Tuple come flattened, as `make_environment` says).
    """
    if isinstance(space, spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) in (2, 3):
            seen, show = _pictures(space)
            return (seen, show) if min(seen.shape[1:]) >= SMALLEST_PICTURE else _board(space)
        return _box(space), lambda seen: torch.from_numpy(
            np.ascontiguousarray(seen, dtype=np.float32)
        )
    discrete = _choices(space)
    if discrete is None:
        raise UserError(
            f"{name} shows a {type(space).__name__}, and numbers (Box) or choices (Discrete, "
            "MultiDiscrete) were wanted: give it an observation that can be flattened into these, "
            "or wrap it so."
        )
    choices, first = discrete
    return choices, lambda seen: torch.from_numpy(
        (seen - first).astype(np.int64).reshape(-1, *choices.shape)
    )


def translate_actions(space: spaces.Space, name: str) -> tuple[Space, TellAction]:
    """What a world is told. An action of numbers is cut to the world's bounds on its way, and only
    there: the trainer keeps its own.

    Raises UserError, with the world's `name`, for anything but Box, Discrete, MultiDiscrete and
    MultiBinary. What it returns raises UserError for an action that is no number.
    """
    if isinstance(space, spaces.Box) and not np.prod(space.shape):
        raise UserError(f"{name} is told nothing at all ({space}): there is nothing to learn.")
    if isinstance(space, spaces.Box):
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        whole = np.issubdtype(space.dtype, np.integer)  # casting alone would cut 2.7 to 2

        def cut(action: Tensor) -> np.ndarray:
            done = action.numpy()
            if not np.isfinite(done).all():
                copy = int(np.flatnonzero(~np.isfinite(done).reshape(len(done), -1).all(1))[0])
                raise UserError(
                    f"copy {copy} of {name} was told {done[copy].tolist()}, and numbers were "
                    "wanted: the policy has diverged; lower its learning rate."
                )
            done = np.minimum(np.maximum(done, low), high)
            return (np.rint(done) if whole else done).astype(space.dtype)

        return _box(space), cut
    discrete = _choices(space)
    if discrete is None:
        raise UserError(
            f"{name} is told a {type(space).__name__}, and numbers (Box) or choices (Discrete, "
            "MultiDiscrete) were wanted: register it anew within "
            "gymnasium.wrappers.TransformAction."
        )
    choices, first = discrete
    return choices, lambda action: (
        action.numpy().reshape(-1, *(space.shape or ())) + first
    ).astype(space.dtype)


def _choices(space: spaces.Space) -> tuple[Choices, np.ndarray] | None:
    """The choices of a discrete space, a grid of them row by row, and where they begin; None for
    another space.
    """
    if isinstance(space, spaces.Discrete):
        return Choices((int(space.n),)), np.asarray(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return Choices(tuple(int(n) for n in space.nvec.flatten())), space.start
    if isinstance(space, spaces.MultiBinary):
        return Choices((2,) * int(np.prod(space.shape))), np.zeros((), dtype=np.int64)
    return None


def _box(space: spaces.Box) -> Box:
    return Box(
        *(torch.from_numpy(np.array(end, dtype=np.float32)) for end in (space.low, space.high))
    )


def _board(space: spaces.Box) -> tuple[Space, ShowObservation]:
    """A board, or a picture of few pixels, as one row of numbers from 0 to 1.  [n, H, W, …] -> [n,
    H·W·…]
    """
    low, high = (end.astype(np.float32).flatten() for end in (space.low, space.high))
    width = np.maximum(high - low, 1)

    def show(seen: np.ndarray) -> Tensor:
        return torch.from_numpy((seen.reshape(len(seen), -1).astype(np.float32) - low) / width)

    return Box(torch.zeros(len(low)), torch.ones(len(low))), show


def _pictures(space: spaces.Box) -> tuple[Space, ShowObservation]:
    """[H, W] and [H, W, C] with 1, 3 or 4 colours as [C, H, W]; frames that lie one behind the
    other are so already.
    """
    grey = len(space.shape) == 2
    last = not grey and space.shape[-1] in (1, 3, 4)

    def show(seen: np.ndarray) -> Tensor:
        if grey:
            seen = seen[:, None]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(seen, -1, 1) if last else seen))

    low, high = (show(end[None])[0].clone() for end in (space.low, space.high))
    return Box(low, high), show
