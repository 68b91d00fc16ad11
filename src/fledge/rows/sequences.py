"""Sequences: rows of D numbers, or symbols of an alphabet, in an order that means something; one
sequence after the other, each of its own length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.rows.points import Points
from fledge.splits import SPLITS, Split, divide


@dataclass(frozen=True)
class Sequences:
    """x: [N, D] float64, or [N] int64 where they are of symbols; N is the sum of the lengths.

    lengths: of the S sequences, each 1 or more. columns: D names. symbols: what a number in x
    stands for, or () where they are of numbers.
    """

    x: Tensor
    lengths: tuple[int, ...]
    columns: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    source: str = "the data"

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1 or sum(self.lengths) != len(self.x):
            raise UserError(
                f"{self.source} has {len(self.x)} steps and sequences of lengths that sum to "
                f"{sum(self.lengths)}: give the length of every sequence, 1 or more each."
            )

    def __len__(self) -> int:
        """S."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.x)

    @property
    def total(self) -> float:
        """What a sum over steps is divided by."""
        return float(len(self.x))

    @property
    def width(self) -> int:
        return 1 if self.x.ndim == 1 else self.x.shape[1]

    @cached_property
    def has_missing(self) -> bool:
        return self.x.is_floating_point() and bool(self.x.isnan().any())

    @cached_property
    def starts(self) -> Tensor:
        """Of every sequence the number of its first step.  [S]"""
        return torch.tensor((0, *self.lengths[:-1])).cumsum(0)

    def count_actions(self) -> int:
        return self.steps

    def each(self) -> Sequence[Tensor]:
        """The sequences, views of x."""
        return self.x.split(self.lengths)

    def take(self, numbers: Sequence[int]) -> Sequences:
        """Some of the sequences, in that order."""
        parts = self.each()
        return replace(
            self,
            x=torch.cat([parts[number] for number in numbers]),
            lengths=tuple(self.lengths[number] for number in numbers),
        )

    def check_present(self, what: str) -> None:
        """Raises UserError where a value is missing, for a model that takes none."""
        if self.has_missing:
            Points(self.x, self.columns, source=self.source).check_present(what)


def split_sequences(sequences: Sequences) -> dict[Split, Sequences] | None:
    """Train, validation and test by the content of each sequence: equal ones stay on one side.

    None where too few differ to hold any out.
    """
    contents = [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in sequences.each()]
    sides = divide(contents)
    if sides is None:
        return None
    return {
        split: sequences.take([n for n, content in enumerate(contents) if sides[content] == split])
        for split in SPLITS
    }
