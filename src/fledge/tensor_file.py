"""Writes a safetensors file so that a full disk is an OSError, as with every other file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Tensors contiguous, each with memory of its own. Raises OSError and leaves a half file."""
    # with the mode that the user's umask gives: the library makes it 0600, and colleagues read each
    # other's runs
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
        path.chmod(mode)
    except (
        SafetensorError
    ) as error:  # the library has its own type, with the system's number in the text
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
