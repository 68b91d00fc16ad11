"""The files of MNIST: IDX, big-endian, as they are or packed by gzip.

Four bytes say the type and the number of dimensions, four bytes each their sizes, then come the
numbers, the last dimension fastest (LeCun, Cortes & Burges, "The MNIST database", file formats).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from fledge.errors import UserError

UBYTE = 8  # the type of every published file of pictures; others are refused by name
TYPES = {8: "unsigned bytes", 9: "signed bytes", 11: "shorts", 12: "ints", 13: "floats"}


def is_idx(path: Path) -> bool:
    """By its name: IDX files have none of their own, and MNIST's are called …-idx3-ubyte."""
    return "-idx" in path.name or ".idx" in path.name


def read_idx(path: Path) -> np.ndarray:
    """The array, uint8, of as many dimensions as the file says.

    Raises UserError for a file that is broken, of another type, or that is no IDX file.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): put the whole file back.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise UserError(f"{path} is no IDX file: it does not begin with two zero bytes and a type.")
    kind, dimensions = content[2], content[3]
    if kind != UBYTE:
        raise UserError(f"{path} holds {TYPES[kind]}: pictures and labels are unsigned bytes.")
    header = 4 + 4 * dimensions
    if dimensions == 0 or len(content) < header:
        raise UserError(f"{path} ends within its header: put the whole file back.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    numbers = math.prod(shape)
    if len(content) != header + numbers:
        raise UserError(
            f"{path} says that it holds {' × '.join(map(str, shape))} numbers and has "
            f"{len(content) - header:,} in place of {numbers:,}: put the whole file back."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
