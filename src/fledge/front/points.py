"""Points and pictures that are given in Python, as the bytes of a file that a verb reads."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from fledge.errors import UserError
from fledge.images.arrays import from_numbers
from fledge.rows.point_files import to_float64


def encode_points(value: Any) -> tuple[bytes, str]:
    """An array [N, D], a tensor, a list of rows of numbers or a DataFrame, whose columns keep their
    names; and the file's ending.  Raises UserError for anything else.
    """
    if hasattr(value, "iterrows"):
        return value.to_csv(index=False).encode("utf-8"), ".csv"
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserError(
            f"data is a list of rows of different lengths ({error}): give every row as many "
            "numbers."
        ) from error
    numbers = to_float64(array, "data").numpy()
    file = io.BytesIO()
    np.save(file, numbers, allow_pickle=False)
    return file.getvalue(), ".npy"


def encode_pictures(value: Any) -> tuple[bytes, str]:
    """An array or tensor of pictures, or a pair of it and labels; and the file's ending. Raises
    UserError for anything else.
    """
    x, y = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    arrays = {"x": _as_array(x)} | ({} if y is None else {"y": _as_array(y)})
    from_numbers(arrays["x"], arrays.get("y"), "data")  # what is wrong is said at once
    contiguous = {name: np.ascontiguousarray(each) for name, each in arrays.items()}
    return save(contiguous), ".safetensors"


def _as_array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
