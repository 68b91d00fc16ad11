"""New characters out of the prior, and a character again by another hand.

A new stroke that would leave the paper begins elsewhere: its shape is the prior's own, where it
begins is drawn until it fits. (Drawn anew as a whole it came out short.) A character by another
hand is drawn anew as a whole. Where nothing fits, what is off the paper is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fledge.images.ink import PAPER
from fledge.models.images.program_prior import CELL, CELLS, ProgramPrior
from fledge.models.images.stroke_program import (
    KINDS,
    Program,
    ProgramStroke,
    Relation,
    find_anchor,
)
from fledge.models.images.stroke_splines import CONTROLS, SMALLEST, Part

EDGE = 3  # pixels that a pen needs
TRIALS = 100  # of where a stroke begins, or of a whole character by another hand
SHAPES = 10  # of a stroke, where none of those trials fits


def invent(prior: ProgramPrior, random: np.random.Generator) -> Program:
    """A new character."""
    number = 1 + int(random.choice(len(prior.strokes), p=prior.strokes))
    strokes: list[ProgramStroke] = []
    for _ in range(number):
        strokes.append(invent_stroke(prior, number, strokes, random))
    return Program(tuple(strokes))


def invent_stroke(
    prior: ProgramPrior, number: int, earlier: Sequence[ProgramStroke], random: np.random.Generator
) -> ProgramStroke:
    """The next of a character of so many strokes."""
    parts = invent_parts(prior, number, random)
    stroke = begin_stroke(prior, parts, earlier, random)
    for trial in range(1, SHAPES * TRIALS):
        if fits(stroke):
            break
        if trial % TRIALS == 0:
            parts = invent_parts(prior, number, random)
        stroke = begin_stroke(prior, parts, earlier, random)
    return stroke


def invent_parts(prior: ProgramPrior, number: int, random: np.random.Generator) -> tuple[Part, ...]:
    """The sub-strokes of a stroke, in a character of so many strokes."""
    parts: list[Part] = []
    likely = prior.first
    share = prior.parts[number - 1]
    for _ in range(1 + random.choice(len(share), p=share)):
        z = int(random.choice(prior.primitives, p=likely))
        deviation = np.sqrt(prior.shape_variance[z])
        shape = random.normal(prior.shape_mean[z], deviation).reshape(CONTROLS, 2)
        size = math.exp(random.normal(prior.size_mean[z], math.sqrt(prior.size_variance[z])))
        parts.append(make_part(shape, size))
        likely = prior.following[z]
    return tuple(parts)


def begin_stroke(
    prior: ProgramPrior,
    parts: tuple[Part, ...],
    earlier: Sequence[ProgramStroke],
    random: np.random.Generator,
) -> ProgramStroke:
    """These sub-strokes, begun by themselves or at an earlier stroke."""
    relation = Relation("independent")
    if earlier:
        kind = KINDS[random.choice(len(KINDS), p=prior.relation)]
        relation = choose_relation(kind, earlier, random)
    if relation.kind == "independent":
        cells = prior.start[min(len(earlier), 1)].ravel()
        row, column = divmod(int(random.choice(len(cells), p=cells)), CELLS)
        start = CELL * (np.array([column, row]) + random.random(2))
    else:
        off = random.normal(0, float(prior.attached), 2)
        start = find_anchor(relation, earlier) + off
    return ProgramStroke(start, relation, parts)


def choose_relation(
    kind: str, earlier: Sequence[ProgramStroke], random: np.random.Generator
) -> Relation:
    """Any earlier stroke, and any place along it."""
    number = int(random.integers(len(earlier)))
    last = len(earlier[number].parts) - 1
    if kind == "start":
        return Relation("start", number)
    if kind == "end":
        return Relation("end", number, last, 1.0)
    if kind == "along":
        return Relation("along", number, int(random.integers(last + 1)), random.random())
    return Relation("independent")


def redraw(program: Program, prior: ProgramPrior, random: np.random.Generator) -> Program:
    """The same character by another hand: shapes, sizes and starts each a little changed, strokes
    that were attached still so, and all of it moved and resized.
    """
    again = redraw_once(program, prior, random)
    for _ in range(TRIALS):
        if all(fits(stroke) for stroke in again.strokes):
            break
        again = redraw_once(program, prior, random)
    return again


def redraw_once(program: Program, prior: ProgramPrior, random: np.random.Generator) -> Program:
    """Wherever it comes to lie."""
    of_shape, of_size, of_start, of_all, shift = prior.hand
    middle = np.concatenate(program.draw()).mean(0)
    scale, moved = math.exp(random.normal(0, of_all)), random.normal(0, shift, 2)
    strokes: list[ProgramStroke] = []
    for stroke in program.strokes:
        parts: list[Part] = []
        for part in stroke.parts:
            shape = part.shape + random.normal(0, of_shape, part.shape.shape)
            size = part.size * scale * math.exp(random.normal(0, of_size))
            parts.append(make_part(shape, size))
        if stroke.relation.kind == "independent":
            start = middle + scale * (stroke.start - middle) + moved
            start = start + random.normal(0, of_start, 2)
        else:
            anchor = find_anchor(stroke.relation, strokes)
            start = anchor + random.normal(0, float(prior.attached), 2)
        strokes.append(ProgramStroke(start, stroke.relation, tuple(parts)))
    return Program(tuple(strokes))


def make_part(shape: np.ndarray, size: float) -> Part:
    """With its middle taken away and its longer side made 1."""
    shape = shape - shape.mean(0)
    return Part(shape / max(float(np.ptp(shape, axis=0).max()), 1e-6), max(size, SMALLEST))


def fits(stroke: ProgramStroke) -> bool:
    path = stroke.draw()
    return bool(path.min() >= EDGE and path.max() <= PAPER - 1 - EDGE)
