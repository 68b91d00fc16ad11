"""A tensor that several ranks have saved, each a box of it: whoever loads it reads the box that it
needs, from whichever files that lies in, and never the whole of another's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from fledge.tensor_file import write_tensors

# What torch.distributed.checkpoint calls the places of boxes in a safetensors file.
_INFO, _STARTS = "DCP_SHARDING_INFO", "saved_offsets"


@dataclass(frozen=True)
class Box:
    """Where in a tensor some of its numbers lie: from `start`, `sizes` of them along each axis."""

    start: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.sizes)

    def meet(self, other: Box) -> Box:
        """What both hold."""
        start = tuple(map(max, self.start, other.start))
        ends = (
            min(a + m, b + n)
            for a, m, b, n in zip(self.start, self.sizes, other.start, other.sizes, strict=True)
        )
        return Box(start, tuple(max(0, end - a) for a, end in zip(start, ends, strict=True)))

    def within(self, outer: Box) -> tuple[slice, ...]:
        """Its place, counted from the beginning of a box around it."""
        return tuple(
            slice(a - b, a - b + n)
            for a, b, n in zip(self.start, outer.start, self.sizes, strict=True)
        )


@dataclass(frozen=True)
class SavedTensor:
    """name: in every file. pieces: the files, and the box of it that each holds."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: tuple[tuple[Path, Box], ...]

    def __post_init__(self) -> None:
        """Raises ValueError where the files do not hold every number of it."""
        held = sum(box.numel for _, box in self.pieces)
        if held != math.prod(self.shape):
            raise ValueError(
                f"{self.name} has {math.prod(self.shape):,} numbers, and {held:,} were saved"
            )

    def read(self, box: Box | None = None) -> Tensor:
        """The numbers of a box, all of them by default, on the CPU, in memory of their own."""
        wanted = box or Box((0,) * len(self.shape), self.shape)
        read = torch.empty(wanted.sizes, dtype=self.dtype)
        for file, held in self.pieces:
            both = held.meet(wanted)
            if both.numel:
                with safe_open(file, "pt") as opened:
                    read[both.within(wanted)] = opened.get_slice(self.name)[both.within(held)]
        return read


def write_pieces(path: Path, pieces: dict[str, tuple[Box, Tensor]]) -> None:
    """One rank's file: of each tensor the box that it holds, contiguous, on the CPU. torch's own
    HuggingFaceStorageReader reads it too. Raises OSError and leaves a half file.
    """
    starts = {name: {_STARTS: list(box.start)} for name, (box, _) in pieces.items()}
    write_tensors(
        path, {name: x for name, (_, x) in pieces.items()},
        {_INFO: json.dumps(starts), "DCP_VERSION": "1.0", "format": "pt"},
    )  # fmt: skip


def find_pieces(files: Sequence[Path]) -> dict[str, list[tuple[Path, Box]]]:
    """Which of the files of `write_pieces` hold which boxes of which tensors, by their names."""
    pieces: dict[str, list[tuple[Path, Box]]] = {}
    for file in files:
        with safe_open(file, "pt") as opened:
            starts = json.loads((opened.metadata() or {})[_INFO])
            names = opened.keys()  # of a safe_open, which is no dict and has no __iter__
            for name in names:
                sizes = tuple(opened.get_slice(name).get_shape())
                box = Box(tuple(starts[name][_STARTS]), sizes)
                pieces.setdefault(name, []).append((file, box))
    return pieces
