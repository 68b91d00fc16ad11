"""The figures of a log of any length as curves of bounded memory: a short one point by point, a
long one by stretches of equally many points, with the mean, the lowest and the highest of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from fledge.report.charts import Series
from fledge.report.figures import BOOKKEEPING, is_number
from fledge.runs.landmarks import LogRow

MOST = 2**14  # points or stretches of a curve: many more than a chart can show

_MEAN, _LOWEST, _HIGHEST = slice(0, 2), slice(2, 4), slice(4, 6)  # of a stretch, each x and y


@dataclass
class Curve:
    """One figure's values over x, in the order they were logged.

    first, last: its values as they stand in the log. lost: how many were not a number.
    """

    first: float = math.nan
    last: float = math.nan
    lowest: float = math.inf
    lost: int = 0
    _points: list[tuple[float, float]] = field(default_factory=list)  # of no stretch yet
    _stretches: np.ndarray = field(default_factory=lambda: np.empty((0, 6)))
    _stride: int = 1  # points of a stretch, a power of two

    @property
    def empty(self) -> bool:
        return not self._points and not len(self._stretches)

    def add(self, x: float, y: float) -> None:
        self.first, self.last = (y if self.empty else self.first), y
        self.lowest = min(self.lowest, y)
        if len(self._points) == max(MOST, 2 * self._stride):  # a multiple of both
            self._fold()
        self._points.append((x, y))

    def _fold(self) -> None:
        """Stretches of the points, and half as many of twice the length where there are too
        many.
        """
        more = summarise_curve(np.array(self._points, dtype=np.float64), self._stride)
        self._stretches = np.concatenate([self._stretches, more])
        self._points = []
        # An even number up to 2²⁸ points, and a few more stretches than asked for beyond.
        while len(self._stretches) > MOST and len(self._stretches) % 2 == 0:
            self._stretches = join_pairs(self._stretches.reshape(-1, 2, 6))
            self._stride *= 2

    def equals(self, other: Curve) -> bool:
        return (
            self.lost == other.lost
            and self._points == other._points
            and np.array_equal(self._stretches, other._stretches)
        )

    def series(self, name: str) -> Series:
        """Means as the line; beside them, of a long curve, its lowest and highest points."""
        if not len(self._stretches):
            return Series(name, [x for x, _ in self._points], [y for _, y in self._points])
        parts = [self._stretches]
        if self._points:
            whole = len(self._points) // self._stride * self._stride
            for part in (self._points[:whole], self._points[whole:]):
                points = np.array(part, dtype=np.float64)
                parts += [summarise_curve(points, min(self._stride, len(part)))] if part else []
        stretches = np.concatenate(parts)
        ends = ((each[_LOWEST], each[_HIGHEST]) for each in stretches.tolist())
        peaks = list(chain.from_iterable(sorted(map(tuple, pair)) for pair in ends))
        x, y = stretches[:, _MEAN].T.tolist()
        return Series(name, x, y, peaks=peaks)


def summarise_curve(points: np.ndarray, stride: int) -> np.ndarray:
    """Mean, lowest and highest point of every `stride` points.  [N, 2] -> [N/stride, 6]"""
    by_stretch = points.reshape(-1, stride, 2)
    rows = np.arange(len(by_stretch))
    lowest, highest = by_stretch[:, :, 1].argmin(1), by_stretch[:, :, 1].argmax(1)
    return np.concatenate(
        [by_stretch.mean(1), by_stretch[rows, lowest], by_stretch[rows, highest]], axis=1
    )


def join_pairs(pairs: np.ndarray) -> np.ndarray:
    """Two stretches of one length as one.  [N, 2, 6] -> [N, 6]"""
    one, other = pairs[:, 0], pairs[:, 1]
    lower = one[:, _LOWEST][:, 1:] <= other[:, _LOWEST][:, 1:]
    higher = one[:, _HIGHEST][:, 1:] >= other[:, _HIGHEST][:, 1:]
    return np.concatenate(
        [
            (one[:, _MEAN] + other[:, _MEAN]) / 2,
            np.where(lower, one[:, _LOWEST], other[:, _LOWEST]),
            np.where(higher, one[:, _HIGHEST], other[:, _HIGHEST]),
        ],
        axis=1,
    )


@dataclass
class Curves:
    """Every figure of a log by its name, and how far it goes. Bookkeeping is no figure.

    in_world: whether its rows count steps in a world; those are their x then.
    """

    figures: dict[str, Curve] = field(default_factory=dict)
    rows: int = 0
    steps: int | None = None
    world_steps: float = 0
    in_world: bool = False

    def add(self, row: LogRow) -> None:
        self.rows += 1
        if "world_steps" in row:
            self.in_world, self.world_steps = True, max(self.world_steps, row["world_steps"])
        if row.get("step") is not None:
            self.steps = max(self.steps or 0, row["step"])
        if not is_number(row.get("step")):
            return
        x = row.get("world_steps", row["step"])
        for name, value in row.items():
            if name in BOOKKEEPING or not (value is None or is_number(value)):
                continue
            curve = self.figures.setdefault(name, Curve())
            if value is None:
                curve.lost += 1
            else:
                curve.add(x, value)

    def list_figures(self) -> dict[str, Curve]:
        """Those with a number at all."""
        return {name: curve for name, curve in self.figures.items() if not curve.empty}
