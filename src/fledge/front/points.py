"""Points that are given in Python, as the bytes of a file that `fledge fit` reads."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from fledge.errors import UserError
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
