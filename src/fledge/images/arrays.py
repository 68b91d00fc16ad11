"""Pictures out of arrays: .npy, .npz and .safetensors, of bytes or of numbers from 0 to 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.array_file import read_arrays
from fledge.errors import UserError
from fledge.images.pictures import MOST_LEVELS, PictureSet, make_set

X_NAMES = ("x", "X", "images", "image", "data", "pixels")
Y_NAMES = ("y", "label", "labels", "target")


def from_arrays(path: Path) -> PictureSet:
    """x: [N, H, W], [N, H, W, C] or [N, C, H, W], of 1, 3 or 4 channels; y: [N], where there are
    labels.
    """
    arrays = read_arrays(path)
    name = next((each for each in X_NAMES if each in arrays), None)
    labels = next((each for each in Y_NAMES if each in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        raise UserError(
            f"{path} has {', '.join(arrays) or 'no arrays'}: call the one of the pictures `x`."
        )
    return from_numbers(arrays[name], None if labels is None else arrays[labels], str(path))


def from_numbers(x: Any, y: Any = None, source: str = "the array") -> PictureSet:
    """As `from_arrays`, of arrays in memory. Raises UserError for what are no pictures."""
    x = np.asarray(x)
    pixels, levels = _as_levels(_channels_first(x, source), source)
    if y is None:
        return make_set(pixels, None, levels, (), source)
    y = np.asarray(y)
    if y.shape != (len(x),):
        raise UserError(
            f"{source} has {len(x):,} pictures and labels of shape {list(y.shape)}: give one label "
            "for each."
        )
    different = sorted(set(y.tolist()))
    places = {value: place for place, value in enumerate(different)}
    label = torch.tensor([places[value] for value in y.tolist()])
    return make_set(pixels, label, levels, [str(value) for value in different], source)


def _channels_first(x: np.ndarray, source: str) -> np.ndarray:
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3, 4) and x.shape[3] in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4):
        raise UserError(
            f"{source} is an array of shape {list(x.shape)}: pictures are [N, H, W], [N, H, W, C] "
            "or [N, C, H, W] with 1, 3 or 4 channels."
        )
    if 0 in x.shape:
        raise UserError(f"{source} is an array of shape {list(x.shape)}: it holds no picture.")
    return x


def _as_levels(x: np.ndarray, source: str) -> tuple[torch.Tensor, int]:
    """Bytes are 256 levels, of few whole numbers as many as there are; numbers from 0 to 1 are
    rounded to 256 levels.
    """
    if x.dtype.kind == "b":
        return torch.from_numpy(x.astype(np.uint8)), 2
    if x.dtype.kind in "iu":
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= MOST_LEVELS:
            raise UserError(
                f"{source} holds whole numbers from {low} to {high}: give levels from 0 to 255."
            )
        return torch.from_numpy(x.astype(np.uint8)), count_levels(high)
    if x.dtype.kind != "f":
        raise UserError(f"{source} is an array of {x.dtype}: give one of numbers.")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise UserError(
            f"{source} holds numbers from {low:g} to {high:g}: give numbers from 0 to 1, or bytes."
        )
    return torch.from_numpy(np.rint(x * 255).astype(np.uint8)), MOST_LEVELS


def count_levels(high: int) -> int:
    """Of pictures whose highest number this is: two, up to 17 as many as there are, else 256."""
    return max(2, high + 1) if high <= 16 else MOST_LEVELS
