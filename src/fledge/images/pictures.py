"""Pictures: N of C channels, H rows and W columns, each number one of L levels; with labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fledge.splits import SPLITS, Split, divide
from fledge.trajectories import Rows

UNKNOWN = -1  # the label of a picture of which none is known
MOST_LEVELS = 256


@dataclass(frozen=True)
class Pictures(Rows):
    """x: [B, C, H, W] uint8, each below the number of levels. label: [B] int64, or `UNKNOWN`."""

    x: Tensor
    label: Tensor

    def count_actions(self) -> int:
        return len(self)


@dataclass(frozen=True)
class PictureShape:
    """What a model of pictures is made for. names: of its labels; none where there are none."""

    channels: int
    height: int
    width: int
    levels: int
    names: tuple[str, ...] = ()

    @property
    def numbers(self) -> int:
        """D = C·H·W, by which bits per dimension are counted."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    def card(self) -> dict[str, Any]:
        return {
            "channels": self.channels, "height": self.height, "width": self.width,
            "levels": self.levels, "names": list(self.names),
        }  # fmt: skip

    @classmethod
    def restore(cls, card: dict[str, Any]) -> PictureShape:
        return cls(**{**card, "names": tuple(card["names"])})

    def describe(self) -> str:
        colour = "" if self.channels == 1 else f" × {self.channels} channels"
        return f"{self.height} × {self.width}{colour} of {self.levels} levels"


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one shape, and where they come from."""

    rows: Pictures
    shape: PictureShape
    source: str = "the data"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labelled(self) -> bool:
        return bool(self.shape.names)

    def take(self, index: Tensor | slice) -> PictureSet:
        return replace(self, rows=self.rows[index])

    def join(self, other: PictureSet) -> PictureSet:
        """These pictures and then the other's, of the same shape."""
        x, label = (
            torch.cat([getattr(each.rows, name) for each in (self, other)])
            for name in ("x", "label")
        )
        return replace(self, rows=Pictures(x, label))

    def as_pictures(self) -> PictureSet:
        """Itself: what films have their frames for."""
        return self

    def split(self) -> dict[Split, PictureSet] | None:
        """Train, validation and test by the content of each picture: equal ones stay on one side.
        None where there are too few to hold any out.
        """
        keys = [digest_of(x) for x in self.rows.x]
        sides = divide(keys)
        if sides is None:
            return None
        places: dict[Split, list[int]] = {split: [] for split in SPLITS}
        for place, key in enumerate(keys):
            places[sides[key]].append(place)
        return {split: self.take(torch.tensor(own)) for split, own in places.items()}


def digest_of(x: Tensor) -> str:
    """The sha256 of one picture's numbers.  [C, H, W] uint8"""
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()


def make_set(
    x: Tensor, label: Tensor | None, levels: int, names: Sequence[str], source: str
) -> PictureSet:
    """x: [N, C, H, W] uint8. label: [N] int64; None: none is known."""
    N, C, H, W = x.shape
    if label is None:
        label, names = torch.full((N,), UNKNOWN), ()
    shape = PictureShape(C, H, W, levels, tuple(names))
    return PictureSet(Pictures(x.contiguous(), label.long()), shape, source)


def centre(x: Tensor, levels: int) -> Tensor:
    """Levels 0 … L−1 as numbers from −1 to 1, in float32."""
    return x.float() * (2 / (levels - 1)) - 1


def to_levels(x: Tensor, levels: int) -> Tensor:
    """The nearest level of numbers from −1 to 1; the inverse of `centre`.  -> uint8"""
    return ((x.float() + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).to(torch.uint8)
