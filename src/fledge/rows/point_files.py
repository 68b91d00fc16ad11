"""Points out of a file: .csv, .npy, .npz or .safetensors, each a table of one point a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.array_file import SUFFIXES, read_arrays
from fledge.errors import UserError
from fledge.rows.point_csv import name_labels, read_csv
from fledge.rows.points import Points, as_levels, from_array

TEXT = (".csv", ".tsv", ".txt")


def read_points(
    path: str | Path,
    *,
    labels: str | None = None,
    weights: str | None = None,
    words: bool = False,
) -> Points:
    """The points of a file. labels, weights: the columns of a csv, or the arrays of an .npz or
    .safetensors, that hold them. words: any word is a value, and comes as its place in order.

    Raises UserError for a file that cannot be read, a column that is not there, a row of another
    length, and a word where a number is wanted.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"there is no file {path}: give data=FILE.csv, .npy, .npz or .safetensors.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give one file, .csv, .npy, .npz or .safetensors.")
    if path.suffix in TEXT:
        return read_csv(path, labels, weights, words)
    if path.suffix in SUFFIXES:
        points = _from_arrays(path, read_arrays(path), labels, weights)
        return as_levels(points) if words else points
    raise UserError(f"{path} is of no kind that is read: give a .csv, .npy, .npz or .safetensors.")


def _from_arrays(
    path: Path, arrays: dict[str, np.ndarray], labels: str | None, weights: str | None
) -> Points:
    for wanted in (labels, weights):
        if wanted is not None and wanted not in arrays:
            raise UserError(
                f"{path} has no array {wanted} beside its points: it has {', '.join(arrays)}."
            )
    rest = {name: each for name, each in arrays.items() if name not in (labels, weights)}
    name = next((each for each in ("x", "X", "data", "points") if each in rest), None)
    if name is None and len(rest) == 1:
        name = next(iter(rest))
    if name is None:
        raise UserError(
            f"{path} has {', '.join(rest) or 'no arrays'}: call the one of the points `x`."
        )
    weight = None if weights is None else to_float64(arrays[weights], f"{path}, {weights}")
    points = from_array(to_float64(rest[name], str(path)), (), str(path), weight=weight)
    if labels is None:
        return points
    if arrays[labels].shape != (len(points),):
        raise UserError(
            f"{path} has {len(points)} points and {labels} of shape {list(arrays[labels].shape)}: "
            "give one label for each."
        )
    return name_labels(points, [str(each) for each in arrays[labels].tolist()])


def to_float64(array: Any, source: str) -> Tensor:
    """An array of numbers as a float64 tensor. Raises UserError for one of something else."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{source} is an array of {array.dtype}: give one of numbers.")
    numbers = np.ascontiguousarray(array, dtype=np.float64)
    return torch.from_numpy(numbers if numbers.flags.writeable else numbers.copy())
