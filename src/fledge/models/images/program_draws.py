"""New characters out of the prior, and a character again by another hand.

A character that would not fit on the paper is drawn anew: what is sampled is the prior, given that
it fits.
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
TRIALS = 1000


def invent(prior: ProgramPrior, random: np.random.Generator) -> Program:
    """A new character. Raises ValueError for a prior of which nothing fits on the paper."""
    for _ in range(TRIALS):
        strokes: list[ProgramStroke] = []
        for _ in range(1 + random.choice(len(prior.strokes), p=prior.strokes)):
            strokes.append(invent_stroke(prior, strokes, random))
        if fits(program := Program(tuple(strokes))):
            return program
    raise ValueError(f"of {TRIALS} programs none fits on paper of {PAPER} × {PAPER} pixels.")


def invent_stroke(
    prior: ProgramPrior, earlier: Sequence[ProgramStroke], random: np.random.Generator
) -> ProgramStroke:
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
    parts: list[Part] = []
    likely = prior.first
    for _ in range(1 + random.choice(len(prior.parts), p=prior.parts)):
        z = int(random.choice(prior.primitives, p=likely))
        deviation = np.sqrt(prior.shape_variance[z])
        shape = random.normal(prior.shape_mean[z], deviation).reshape(CONTROLS, 2)
        size = math.exp(random.normal(prior.size_mean[z], math.sqrt(prior.size_variance[z])))
        parts.append(make_part(shape, size))
        likely = prior.following[z]
    return ProgramStroke(start, relation, tuple(parts))


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
    that were attached still so, and all of it moved and resized. Raises ValueError where it never
    fits on the paper.
    """
    of_shape, of_size, of_start, of_all, shift = prior.hand
    middle = np.concatenate(program.draw()).mean(0)
    for _ in range(TRIALS):
        scale = math.exp(random.normal(0, of_all))
        moved = random.normal(0, shift, 2)
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
        if fits(again := Program(tuple(strokes))):
            return again
    raise ValueError(f"in {TRIALS} attempts no hand's drawing fits on the paper.")


def make_part(shape: np.ndarray, size: float) -> Part:
    """With its middle taken away and its longer side made 1."""
    shape = shape - shape.mean(0)
    return Part(shape / max(float(np.ptp(shape, axis=0).max()), 1e-6), max(size, SMALLEST))


def fits(program: Program) -> bool:
    every = np.concatenate(program.draw())
    return bool(every.min() >= EDGE and every.max() <= PAPER - 1 - EDGE)
