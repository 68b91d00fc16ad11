"""Points: N rows of D numbers each, with weights, labels and column names where there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.splits import SPLITS, Split, divide

MOST_LEVELS = 1_000  # different values of a column of categories


@dataclass(frozen=True)
class Points:
    """x: [N, D] float64, NaN where a value is missing. columns: D names.

    weight: [N] float64, how often a point counts, or None: each once. label: [N] int64, the number
    of its known component in `names`, −1 where it is not known; or None.
    levels: of columns of codes, what each code stands for; else none.
    """

    x: Tensor
    columns: tuple[str, ...]
    weight: Tensor | None = None
    label: Tensor | None = None
    names: tuple[str, ...] = ()
    source: str = "the data"
    levels: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def width(self) -> int:
        """D."""
        return self.x.shape[1]

    @property
    def total(self) -> float:
        """Σ_n w_n."""
        return float(len(self)) if self.weight is None else float(self.weight.sum())

    @cached_property
    def has_missing(self) -> bool:
        return bool(self.x.isnan().any())

    def without_labels(self) -> Points:
        return replace(self, label=None, names=())

    def count_actions(self) -> int:
        return len(self)

    def take(self, index: Tensor | slice) -> Points:
        """Some of the points, in that order."""
        weight, label = (
            None if each is None else each[index] for each in (self.weight, self.label)
        )
        return replace(self, x=self.x[index], weight=weight, label=label)

    def check_present(self, what: str) -> None:
        """Raises UserError where a value is missing, for a model that takes none."""
        missing = self.x.isnan()
        if bool(missing.any()):
            n, d = missing.nonzero()[0].tolist()
            raise UserError(
                f"{self.source}, point {n + 1}: {self.columns[d]} is missing (NaN), and {what} "
                "needs every value: fill it in or leave the point out, or give model=gmm, which "
                "sums over what is missing."
            )


def split_points(points: Points) -> dict[Split, Points] | None:
    """Train, validation and test by the content of each row: equal rows stay on one side.

    None where too few differ to hold any out.
    """
    raw = points.x.numpy()
    contents = [hashlib.sha256(row.tobytes()).hexdigest() for row in raw]
    sides = divide(contents)
    if sides is None:
        return None
    side = torch.tensor([SPLITS.index(sides[content]) for content in contents])
    return {split: points.take(side == number) for number, split in enumerate(SPLITS)}


def from_array(
    x: Tensor, columns: Sequence[str] = (), source: str = "the data", **also: Tensor | None
) -> Points:
    """Points of a float64 array [N, D], checked. Raises UserError for what is none, and for an
    infinite value.
    """
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or not x.numel():
        raise UserError(
            f"{source} has shape {list(x.shape)}: give a table of one point or more, [N, D]."
        )
    names = tuple(columns) or tuple(f"x{d + 1}" for d in range(x.shape[1]))
    infinite = x.isinf()
    if bool(infinite.any()):
        n, d = infinite.nonzero()[0].tolist()
        raise UserError(
            f"{source}, point {n + 1}: {names[d]} is infinite: give finite numbers, or leave the "
            "value empty."
        )
    empty = x.isnan().all(0)
    if bool(empty.any()):
        name = names[int(empty.nonzero()[0])]
        raise UserError(f"{source}: no point has a value of {name}: leave that column out.")
    weight = also.get("weight")
    if weight is not None:
        check_weights(weight, len(x), source)
    return Points(x.contiguous(), names, weight, also.get("label"), source=source)


def as_levels(points: Points) -> Points:
    """The same with the different values of each column as codes 0, 1, …, in their order."""
    if points.levels:
        return points
    codes, levels = torch.full_like(points.x, torch.nan), []
    for d in range(points.width):
        seen = ~points.x[:, d].isnan()
        values, number = points.x[seen, d].unique(return_inverse=True)
        if len(values) > MOST_LEVELS:
            raise UserError(
                f"{points.source}: {points.columns[d]} has {len(values)} different values, and a "
                f"category has {MOST_LEVELS} at most: leave the column out, or give model=gmm."
            )
        codes[seen, d] = number.double()
        levels.append(tuple(f"{value:g}" for value in values.tolist()))
    return replace(points, x=codes, levels=tuple(levels))


def check_weights(weight: Tensor, points: int, source: str) -> None:
    """Raises UserError for weights that are no weights."""
    if weight.shape != (points,):
        raise UserError(
            f"{source} has {points} points and weights of shape {list(weight.shape)}: give one "
            "number for each point."
        )
    if not bool((weight.isfinite() & (weight >= 0)).all()) or not float(weight.sum()) > 0:
        raise UserError(
            f"{source}: a weight is negative or no number, or all are 0: give how often each point "
            "counts."
        )
