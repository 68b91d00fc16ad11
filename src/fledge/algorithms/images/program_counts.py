"""What drawings say of the prior of programs, in closed form: counts and moments.

Primitives are states of hidden Markov chains, whose expected counts the forward and backward
recursions give (Baum–Welch; Rabiner 1989, eqs. 27, 37–40). How one hand differs from another is
measured on drawings of one character that have as many strokes and sub-strokes each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fledge.models.images.program_prior import (
    CELLS,
    MOST_PARTS,
    MOST_STROKES,
    NUMBERS,
    Array,
    Chains,
    ProgramPrior,
    find_cell,
    forward,
    read_chains,
)
from fledge.models.images.stroke_program import KINDS, Program, find_anchor

LEAST_VARIANCE = 1e-3  # of shapes, whose longer side is 1, and of log sizes
LEAST_ATTACHED = 0.5  # pixels
NORMAL_MIDDLE = 0.6745  # deviations, within which half of a normal lies
LEAST_HAND = (0.01, 0.01, 0.5, 0.01, 0.5)


def count_structure(
    prior: ProgramPrior, programs: Sequence[Program], labels: Sequence[int], counts: float
) -> ProgramPrior:
    """All but the primitives, which stay. counts: imagined ones of every possibility."""
    strokes = np.full(MOST_STROKES, counts)
    parts = np.full((MOST_STROKES, MOST_PARTS), counts)
    start, relation = np.full((2, CELLS, CELLS), counts), np.full(len(KINDS), counts)
    off: list[np.ndarray] = []
    for program in programs:
        number = min(len(program.strokes), MOST_STROKES) - 1
        strokes[number] += 1
        for i, stroke in enumerate(program.strokes):
            parts[number, min(len(stroke.parts), MOST_PARTS) - 1] += 1
            relation[KINDS.index(stroke.relation.kind)] += i > 0
            if stroke.relation.kind == "independent":
                start[(min(i, 1), *find_cell(stroke.start))] += 1
            else:
                off.append(stroke.start - find_anchor(stroke.relation, program.strokes[:i]))
    attached = math.sqrt(np.square(off).mean()) if off else LEAST_ATTACHED
    return replace(
        prior,
        strokes=strokes / strokes.sum(),
        parts=parts / parts.sum(1, keepdims=True),
        start=start / start.sum((1, 2), keepdims=True),
        relation=relation / relation.sum(),
        attached=np.array(max(attached, LEAST_ATTACHED)),
        hand=measure_hands(programs, labels),
    )


@dataclass(frozen=True, eq=False)
class Expected:
    """gamma: [S, L, K] the probability of each primitive, 0 at padding. pairs: [K, K] expected
    numbers of one after another. log_prob: of all chains.
    """

    gamma: Array
    pairs: Array
    log_prob: float


def expect_primitives(prior: ProgramPrior, chains: Chains) -> Expected:
    """The E-step."""
    total, filtered, emission = forward(prior, chains)
    gamma, pairs = np.zeros_like(filtered), np.zeros_like(prior.following)
    after = np.ones_like(filtered[:, 0])  # β, of any scale
    for i in reversed(range(filtered.shape[1])):
        last = np.equal(chains.length, i + 1)
        after = np.where(last[:, None], 1.0, after)
        both = filtered[:, i] * after
        there = chains.there[:, i]
        gamma[:, i] = np.where(there[:, None], both / both.sum(1, keepdims=True), 0.0)
        if i == 0:
            break
        likely = np.exp(emission[:, i] - emission[:, i].max(1, keepdims=True)) * after
        before, now = filtered[there, i - 1], likely[there]
        joint = before[:, :, None] * prior.following * now[:, None]
        pairs += (joint / joint.sum((1, 2), keepdims=True)).sum(0)
        after = likely @ prior.following.T
        after = after / after.max(1, keepdims=True)
    return Expected(gamma, pairs, float(total.sum()))


def fit_primitives(
    prior: ProgramPrior, chains: Chains, expected: Expected, counts: float
) -> ProgramPrior:
    """The M-step. A primitive that nothing is of stays as it was."""
    there = chains.there
    gamma = expected.gamma[there]
    shape, size, mass = chains.shape[there], chains.size[there], gamma.sum(0)
    used = mass > 1e-6
    safe = np.where(used, mass, 1.0)
    shape_mean = np.where(used[:, None], gamma.T @ shape / safe[:, None], prior.shape_mean)
    size_mean = np.where(used, gamma.T @ size / safe, prior.size_mean)
    of_shape = gamma.T @ shape**2 / safe[:, None] - shape_mean**2
    of_size = gamma.T @ size**2 / safe - size_mean**2
    first = expected.gamma[:, 0].sum(0) + counts
    following = expected.pairs + counts
    return replace(
        prior,
        first=first / first.sum(),
        following=following / following.sum(1, keepdims=True),
        shape_mean=shape_mean,
        shape_variance=np.where(
            used[:, None], of_shape.clip(min=LEAST_VARIANCE), prior.shape_variance
        ),
        size_mean=size_mean,
        size_variance=np.where(used, of_size.clip(min=LEAST_VARIANCE), prior.size_variance),
    )


def begin_primitives(
    prior: ProgramPrior, chains: Chains, random: np.random.Generator
) -> ProgramPrior:
    """Each about a sub-stroke of its own, far from those of the others (k-means++, Arthur &
    Vassilvitskii 2007), and as wide as a share of them all.
    """
    there = chains.there
    x = np.concatenate([chains.shape[there], chains.size[there][:, None]], 1)
    spread = x.var(0).clip(min=LEAST_VARIANCE)
    chosen = [int(random.integers(len(x)))]
    nearest = np.full(len(x), np.inf)
    while len(chosen) < prior.primitives:
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2 / spread).sum(1))
        even = np.full(len(x), 1 / len(x))
        likely = nearest / nearest.sum() if nearest.sum() > 0 else even
        chosen.append(int(random.choice(len(x), p=likely)))
    wide = np.broadcast_to((spread / 4).clip(min=LEAST_VARIANCE), (len(chosen), NUMBERS + 1))
    return replace(
        prior,
        shape_mean=x[chosen, :NUMBERS], size_mean=x[chosen, NUMBERS],
        shape_variance=wide[:, :NUMBERS].copy(), size_variance=wide[:, NUMBERS].copy(),
    )  # fmt: skip


def measure_hands(programs: Sequence[Program], labels: Sequence[int]) -> Array:
    """The deviations of `ProgramPrior.hand`, over drawings of one character that are built alike:
    the middle distance from what is usual, since some of them draw the strokes in another order,
    which is no deviation. The least there may be where no two are alike.
    """
    alike: dict[tuple[int, ...], list[Program]] = {}
    for program, label in zip(programs, labels, strict=True):
        built = tuple(len(stroke.parts) for stroke in program.strokes)
        alike.setdefault((label, *built), []).append(program)
    apart: list[list[Array]] = [[np.zeros(0)] for _ in LEAST_HAND]
    for group in alike.values():
        n = len(group)
        for k, numbers in enumerate(measure_group(group) if n > 1 else ()):
            off = numbers - np.median(numbers, 0)
            apart[k].append(np.abs(off).ravel() * math.sqrt(n / (n - 1)))
    several = [np.concatenate(each) for each in apart]
    usual = [np.median(each) / NORMAL_MIDDLE if len(each) else 0.0 for each in several]
    return np.maximum(usual, LEAST_HAND)


def measure_group(group: Sequence[Program]) -> tuple[Array, Array, Array, Array, Array]:
    """Of programs built alike, for each [N, …]: shapes, log sizes and starts (from the middle),
    both without what all strokes share; the log size of all, and where its middle is.
    """
    shape = np.stack([[part.shape for s in p.strokes for part in s.parts] for p in group])
    size = np.log([[part.size for s in p.strokes for part in s.parts] for p in group])
    middle = np.stack([np.concatenate(p.draw()).mean(0) for p in group])
    start = np.stack([[s.start for s in p.strokes] for p in group]) - middle[:, None]
    whole = size.mean(1)
    return shape, size - whole[:, None], start, whole, middle


def read_programs(programs: Sequence[Program]) -> Chains:
    return read_chains([stroke for program in programs for stroke in program.strokes])
