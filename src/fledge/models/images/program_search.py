"""A picture read as programs, program* = argmax P(picture | program) P(program): its skeleton is
walked at random, preferring to go straight on, and the walks that are likeliest under the prior are
held against the ink (Lake, Salakhutdinov & Tenenbaum 2015, eq. 4 and supplement §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fledge.images.ink import explain_ink
from fledge.images.skeleton import Line, Skeleton, trace
from fledge.images.thinning import thin
from fledge.models.images.program_prior import ProgramPrior
from fledge.models.images.stroke_parts import cut_at_corners
from fledge.models.images.stroke_program import Program, write_program
from fledge.models.images.stroke_splines import measure_length

WALKS = 30
HELD = 8  # of them that are held against the ink
TURN = 0.4  # radians: turning by so much more at a node is e times less likely
LIFT = 1.5  # radians: lifting the pen is as likely as turning so far
LOOK = 6  # pixels by which a direction is measured
TOP_LEFT = 40.0  # pixels: a start so much farther right or down is e times less likely


@dataclass(frozen=True, eq=False)
class Reading:
    """paths: of each stroke, [L, 2] pixels of the skeleton. log_prob: of the program, nats.
    log_likelihood: of the picture, drawn by it.
    """

    paths: tuple[np.ndarray, ...]
    program: Program
    log_prob: float
    log_likelihood: float

    @property
    def log_joint(self) -> float:
        """log P(picture | program) P(program)"""
        return self.log_likelihood + self.log_prob


def read_picture(
    ink: np.ndarray, prior: ProgramPrior, random: np.random.Generator, count: int = 1
) -> list[Reading]:
    """[PAPER, PAPER] bool -> the likeliest programs, at the most `count`, the best first."""
    skeleton = trace(thin(ink))
    walks: dict[tuple[tuple[tuple[int, bool], ...], ...], list[np.ndarray]] = {}
    for _ in range(WALKS):
        walk = walk_at_random(skeleton, random)
        walks.setdefault(walk, [join_lines(skeleton, stroke) for stroke in walk])
    paths = list(walks.values())
    programs = [write_program([cut_at_corners(path) for path in each]) for each in paths]
    log_prob = prior.log_prob(programs)
    picture = torch.from_numpy(ink)
    readings = [
        Reading(tuple(paths[i]), programs[i], float(log_prob[i]), explain(picture, programs[i]))
        for i in np.argsort(-log_prob, kind="stable")[:HELD]
    ]
    return sorted(readings, key=lambda reading: -reading.log_joint)[:count]


def explain(picture: torch.Tensor, program: Program) -> float:
    """log P(picture | program), nats.  picture: [PAPER, PAPER] bool"""
    return explain_ink(picture, [torch.from_numpy(path).float() for path in program.draw()])


Step = tuple[int, bool]  # which line, and whether from its last node to its first


def walk_at_random(skeleton: Skeleton, random: np.random.Generator) -> tuple[tuple[Step, ...], ...]:
    """Every line once, in strokes."""
    left = set(range(len(skeleton.lines)))
    strokes: list[tuple[Step, ...]] = []
    while left:
        node = choose_start(skeleton, left, random)
        stroke: list[Step] = []
        while steps := list_steps(skeleton, node, left):
            step = choose_step(skeleton, stroke, steps, random)
            if step is None:
                break
            left.discard(step[0])
            stroke.append(step)
            node = take(skeleton, step).last
        strokes.append(tuple(stroke))
    return tuple(strokes)


def take(skeleton: Skeleton, step: Step) -> Line:
    line = skeleton.lines[step[0]]
    return line.reversed() if step[1] else line


def list_steps(skeleton: Skeleton, node: int, left: set[int]) -> list[Step]:
    steps: list[Step] = []
    for number in sorted(left):
        line = skeleton.lines[number]
        steps += [(number, False)] if line.first == node else []
        steps += [(number, True)] if line.last == node else []
    return steps


def choose_start(skeleton: Skeleton, left: set[int], random: np.random.Generator) -> int:
    """An end before a crossing with an odd number of lines, and that before any other: all can
    be drawn by as few strokes as there are pairs of odd nodes.
    """
    degree: dict[int, int] = {}
    for number in sorted(left):
        line = skeleton.lines[number]
        for node in (line.first, line.last):
            degree[node] = degree.get(node, 0) + 1
    ends = [node for node, lines in degree.items() if lines == 1]
    odd = [node for node, lines in degree.items() if lines % 2]
    nodes = ends or odd or list(degree)
    far = skeleton.nodes[nodes].sum(1) / TOP_LEFT
    likely = np.exp(far.min() - far)
    return nodes[int(random.choice(np.arange(len(nodes)), p=likely / likely.sum()))]


def choose_step(
    skeleton: Skeleton, before: Sequence[Step], steps: Sequence[Step], random: np.random.Generator
) -> Step | None:
    """By how little it turns; None: the pen is lifted, which it never is before a first step."""
    if not before:
        return steps[int(random.integers(len(steps)))]
    path = take(skeleton, before[-1]).path
    came = path[-1] - path[max(0, len(path) - 1 - LOOK)]
    turns = [measure_turn(came, take(skeleton, step).path) for step in steps]
    likely = np.exp(-np.array([*turns, LIFT]) / TURN)
    choice = random.choice(len(likely), p=likely / likely.sum())
    return None if choice == len(steps) else steps[choice]


def measure_turn(came: np.ndarray, path: np.ndarray) -> float:
    """Radians between a direction and that of a path's first pixels."""
    goes = path[min(LOOK, len(path) - 1)] - path[0]
    size = np.linalg.norm(came) * np.linalg.norm(goes)
    return float(np.arccos(np.clip(came @ goes / max(size, 1e-9), -1, 1)))


def join_lines(skeleton: Skeleton, stroke: Sequence[Step]) -> np.ndarray:
    """The path of a stroke, its staircase smoothed.  -> [L, 2]"""
    paths = [take(skeleton, step).path for step in stroke]
    path = np.concatenate([paths[0], *(each[1:] for each in paths[1:])])
    if len(path) < 6 or measure_length(path) == 0:
        return path
    weight = np.array([1, 2, 3, 2, 1]) / 9
    padded = np.pad(path, ((2, 2), (0, 0)), "reflect", reflect_type="odd")
    return np.stack([np.convolve(padded[:, axis], weight, "valid") for axis in (0, 1)], 1)
