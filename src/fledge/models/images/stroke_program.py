"""A character as a program: strokes of sub-strokes, each stroke begun somewhere or at an earlier
one (Lake, Salakhutdinov & Tenenbaum 2015, fig. 3 and supplement §2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fledge.models.images.stroke_splines import Part, fit_part

Kind = Literal["independent", "start", "end", "along"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ATTACHED = 6.0  # pixels: a stroke that begins so near an earlier one begins at it


@dataclass(frozen=True, eq=False)
class Relation:
    """Where a stroke begins: by itself, or at the start, the end or along an earlier `stroke`;
    there, on its sub-stroke `part`, this share of it from its start.
    """

    kind: Kind
    stroke: int = 0
    part: int = 0
    place: float = 0.0


@dataclass(frozen=True, eq=False)
class ProgramStroke:
    """start: [2] pixels."""

    start: np.ndarray
    relation: Relation
    parts: tuple[Part, ...]

    def draw_parts(self) -> list[np.ndarray]:
        """Each begins where the one before ended.  each [L, 2]"""
        drawn: list[np.ndarray] = []
        at = self.start
        for part in self.parts:
            drawn.append(part.draw(at))
            at = drawn[-1][-1]
        return drawn

    def draw(self) -> np.ndarray:
        """[L, 2] pixels."""
        return np.concatenate(self.draw_parts())


@dataclass(frozen=True, eq=False)
class Program:
    strokes: tuple[ProgramStroke, ...]

    def draw(self) -> list[np.ndarray]:
        return [stroke.draw() for stroke in self.strokes]


def write_program(strokes: Sequence[Sequence[np.ndarray]]) -> Program:
    """strokes: of each its sub-strokes, [L, 2] pixels, in the order in which they are drawn."""
    written: list[ProgramStroke] = []
    for parts in strokes:
        start = np.asarray(parts[0][0], float)
        relation = relate(start, written)
        written.append(ProgramStroke(start, relation, tuple(fit_part(part) for part in parts)))
    return Program(tuple(written))


def relate(start: np.ndarray, earlier: Sequence[ProgramStroke]) -> Relation:
    """What is within `ATTACHED`: the nearest start or end of an earlier stroke, else the nearest
    place along one.
    """
    best: dict[Kind, tuple[float, Relation]] = {}
    for number, stroke in enumerate(earlier):
        parts = stroke.draw_parts()
        last = len(parts) - 1
        along = [np.linalg.norm(part - start, axis=1) for part in parts]
        nearest = int(np.argmin([each.min() for each in along]))
        place = float(along[nearest].argmin() / (len(along[nearest]) - 1))
        at = (
            (along[0][0], Relation("start", number)),
            (along[-1][-1], Relation("end", number, last, 1.0)),
            (along[nearest].min(), Relation("along", number, nearest, place)),
        )
        for apart, relation in at:
            if apart < best.get(relation.kind, (ATTACHED, None))[0]:
                best[relation.kind] = float(apart), relation
    ends = [each for kind, each in best.items() if kind != "along"]
    if ends:
        return min(ends, key=lambda each: each[0])[1]
    return best["along"][1] if "along" in best else Relation("independent")


def find_anchor(relation: Relation, earlier: Sequence[ProgramStroke]) -> np.ndarray:
    """The point that a stroke of this relation begins at.  -> [2]"""
    path = earlier[relation.stroke].draw_parts()[relation.part]
    place = relation.place * (len(path) - 1)
    before = min(int(place), len(path) - 2)
    return path[before] + (place - before) * (path[before + 1] - path[before])
