"""Writes a safetensors file so that a full disk is an OSError, as with every other file; of tensors
that are in memory, or of one after the other.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
}  # fmt: skip


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


def stream_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """The file that `write_tensors` would write of floating-point tensors, of which only one has to
    be there at a time: in the order of `shapes`, each becomes `dtype`. Raises OSError and leaves a
    half file.

    https://huggingface.co/docs/safetensors: the size of the header, 8 bytes; the header, JSON; the
    numbers.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    begin = 0
    for name, shape in shapes.items():
        end = begin + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end],
        }  # fmt: skip
        begin = end
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % 8)  # numbers begin at a multiple of 8
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        for expected, (name, tensor) in zip(shapes, tensors, strict=True):
            if name != expected or tuple(tensor.shape) != shapes[name]:
                raise ValueError(f"{name} {tuple(tensor.shape)} came in place of {expected}")
            own = tensor.detach().to("cpu", dtype).contiguous()
            file.write(own.view(-1).view(torch.uint8).numpy().data)
