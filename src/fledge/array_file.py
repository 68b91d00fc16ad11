"""Arrays of numbers out of a file: .npy, .npz or .safetensors, and never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fledge.errors import UserError

SUFFIXES = (".npy", ".npz", ".safetensors")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """By name; that of a .npy is `x`.  Raises UserError for a file that holds no arrays of
    numbers.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
        loaded: Any = np.load(path, allow_pickle=False)
        return {name: loaded[name] for name in loaded} if path.suffix == ".npz" else {"x": loaded}
    except (SafetensorError, ValueError, OSError, EOFError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{path} holds no arrays of numbers ({reason}): write it with numpy.save or "
            "safetensors, numbers alone."
        ) from error
