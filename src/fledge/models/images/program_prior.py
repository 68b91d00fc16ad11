"""How likely a program is: its number of strokes, their relations and starts, and sub-strokes whose
primitives follow each other as states of a hidden Markov chain.

Lake, Salakhutdinov & Tenenbaum (2015, supplement §2.1). Here the primitive of a sub-stroke is never
decided: it is summed out by the forward recursion (Rabiner 1989, eqs. 19–21). As there, the density
of a shape is over all ten numbers, though its middle is 0 and its size 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fledge.models.images.stroke_program import KINDS, Program, ProgramStroke, find_anchor
from fledge.models.images.stroke_splines import CONTROLS

Array = NDArray[np.float64]
MOST_STROKES = MOST_PARTS = 10  # more are counted as so many
CELLS = 7  # of the paper's side, where strokes begin
CELL = 15  # pixels of a cell's side
NUMBERS = 2 * CONTROLS
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class ProgramPrior:
    """strokes: [MOST_STROKES] P(number of strokes). parts: [MOST_STROKES, MOST_PARTS] P(number of a
    stroke's sub-strokes | number of strokes): a character of one stroke has more in it. first: [K]
    of a stroke's first primitive. following: [K, K] of each after each. shape_mean, shape_variance:
    [K, 10]. size_mean, size_variance: [K], of the logarithm. start: [2, CELLS, CELLS], rows first,
    where the first stroke begins, and where others do that begin by themselves. relation: [4] of
    strokes after the first. attached: the deviation of a start from its anchor, in pixels. hand:
    deviations from hand to hand: of shapes, of log sizes, of starts (pixels), of all as one: its
    log size, and where it is (pixels).
    """

    strokes: Array
    parts: Array
    first: Array
    following: Array
    shape_mean: Array
    shape_variance: Array
    size_mean: Array
    size_variance: Array
    start: Array
    relation: Array
    attached: Array
    hand: Array

    @property
    def primitives(self) -> int:
        return len(self.first)

    def log_prob(self, programs: Sequence[Program]) -> Array:
        """Of each, in nats.  -> [B]"""
        chains = read_chains([stroke for program in programs for stroke in program.strokes])
        owner = np.repeat(np.arange(len(programs)), [len(p.strokes) for p in programs])
        of_chains = np.bincount(owner, forward(self, chains)[0], len(programs))
        structure = np.array([self.log_prob_of_structure(program) for program in programs])
        return np.asarray(of_chains + structure, np.float64)

    def log_prob_of_structure(self, program: Program) -> float:
        """All but the shapes and sizes of sub-strokes: how many strokes, of how many sub-strokes,
        related how and begun where.
        """
        number = min(len(program.strokes), MOST_STROKES) - 1
        total = math.log(self.strokes[number])
        for i, stroke in enumerate(program.strokes):
            total += math.log(self.parts[number, min(len(stroke.parts), MOST_PARTS) - 1])
            total += self.log_prob_of_start(stroke, program.strokes[:i])
        return total

    def log_emission(self, shape: Array, size: Array) -> Array:
        """Of a shape and a log size under each primitive.  [..., 10], [...] -> [..., K]"""
        exact, mean = 1 / self.shape_variance, self.shape_mean
        square = shape**2 @ exact.T - 2 * shape @ (exact * mean).T + (exact * mean**2).sum(1)
        of_shape = square + np.log(self.shape_variance).sum(1) + NUMBERS * LOG_2PI
        of_size = (size[..., None] - self.size_mean) ** 2 / self.size_variance
        return -0.5 * (of_shape + of_size + np.log(self.size_variance) + LOG_2PI)

    def log_prob_of_start(self, stroke: ProgramStroke, earlier: Sequence[ProgramStroke]) -> float:
        """Its relation, and where it begins given that."""
        kind = KINDS.index(stroke.relation.kind)
        total = math.log(self.relation[kind]) if earlier else 0.0
        if stroke.relation.kind == "independent":
            row, column = find_cell(stroke.start)
            share = self.start[min(len(earlier), 1), row, column]
            return total + math.log(share) - 2 * math.log(CELL)
        total -= math.log(len(earlier))
        if stroke.relation.kind == "along":  # any sub-stroke, and any place on it
            total -= math.log(len(earlier[stroke.relation.stroke].parts))
        deviation = float(self.attached)
        off = stroke.start - find_anchor(stroke.relation, earlier)
        return total - 0.5 * float(off @ off) / deviation**2 - LOG_2PI - 2 * math.log(deviation)


NAMES = tuple(field.name for field in fields(ProgramPrior))


@dataclass(frozen=True, eq=False)
class Chains:
    """S strokes as chains of sub-strokes. shape: [S, L, 10]. size: [S, L], its logarithm. length:
    [S], the rest is padding.
    """

    shape: Array
    size: Array
    length: NDArray[np.int64]

    @property
    def there(self) -> NDArray[np.bool_]:
        """[S, L]"""
        return np.arange(self.size.shape[1]) < self.length[:, None]


def read_chains(strokes: Sequence[ProgramStroke]) -> Chains:
    length = np.array([len(stroke.parts) for stroke in strokes])
    shape = np.zeros((len(strokes), length.max(), NUMBERS))
    size = np.zeros(shape.shape[:2])
    for s, stroke in enumerate(strokes):
        for i, part in enumerate(stroke.parts):
            shape[s, i], size[s, i] = part.shape.ravel(), math.log(part.size)
    return Chains(shape, size, length)


def forward(prior: ProgramPrior, chains: Chains) -> tuple[Array, Array, Array]:
    """log p(chain) [S]; the filtered probabilities of primitives and the log emissions, both
    [S, L, K].
    """
    emission = prior.log_emission(chains.shape, chains.size)
    filtered = np.zeros_like(emission)
    total = np.zeros(len(chains.length))
    before = np.broadcast_to(prior.first, emission[:, 0].shape)
    for i in range(emission.shape[1]):
        there = i < chains.length
        highest = emission[:, i].max(1, keepdims=True)
        joint = before * np.exp(emission[:, i] - highest)
        mass = joint.sum(1, keepdims=True)
        filtered[:, i] = joint / mass
        total += np.where(there, (np.log(mass) + highest)[:, 0], 0.0)
        before = filtered[:, i] @ prior.following
    return total, filtered, emission


def find_cell(point: np.ndarray) -> tuple[int, int]:
    """Row and column of the cell; what is off the paper is in the nearest."""
    column, row = (int(min(max(each // CELL, 0), CELLS - 1)) for each in point)
    return row, column
