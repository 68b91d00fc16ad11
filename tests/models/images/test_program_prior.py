"""The prior by enumeration of primitives, by integration, and by sums that must be 1."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fledge.images.ink import PAPER
from fledge.models.images.program_prior import forward, read_chains
from fledge.models.images.stroke_program import (
    KINDS,
    ProgramStroke,
    Relation,
    find_anchor,
    write_program,
)
from tests.models.images.programs import letter_t, line, random_prior

stats = pytest.importorskip("scipy.stats")


def test_a_chain_is_summed_over_all_its_primitives() -> None:
    prior = random_prior(3, primitives=3)
    program = write_program(
        [
            [line((20, 20), (60, 25)), line((60, 25), (55, 70)), line((55, 70), (20, 60))],
            [line((80, 80), (90, 95))],
        ]
    )
    chains = read_chains(program.strokes)
    for s, stroke in enumerate(program.strokes):
        terms: list[float] = []
        for chosen in itertools.product(range(3), repeat=len(stroke.parts)):
            term = math.log(prior.first[chosen[0]])
            for a, b in itertools.pairwise(chosen):
                term += math.log(prior.following[a, b])
            for z, part in zip(chosen, stroke.parts, strict=True):
                deviation = np.sqrt(prior.shape_variance[z])
                term += stats.norm.logpdf(part.shape.ravel(), prior.shape_mean[z], deviation).sum()
                term += stats.norm.logpdf(
                    math.log(part.size), prior.size_mean[z], math.sqrt(prior.size_variance[z])
                )
            terms.append(term)
        expected = np.logaddexp.reduce(terms)
        assert forward(prior, chains)[0][s] == pytest.approx(expected, rel=1e-9)


def test_a_program_is_the_sum_of_its_parts() -> None:
    prior = random_prior(4, primitives=2)
    program = letter_t()
    bar, stem = program.strokes
    chain = forward(prior, read_chains(program.strokes))[0].sum()
    expected = math.log(prior.strokes[1]) + 2 * math.log(prior.parts[1, 0]) + chain
    expected += math.log(prior.start[0, 1, 1] / 15**2)  # (20, 20) in cells of 15
    along = prior.relation[KINDS.index("along")]
    off = stem.start - bar.draw()[round(stem.relation.place * 31)]
    expected += math.log(along) + stats.norm.logpdf(off, 0, float(prior.attached)).sum()
    [given] = prior.log_prob([program])
    assert given == pytest.approx(expected, rel=1e-9)
    twice = prior.log_prob([program, write_program([[line((9, 9), (20, 50))]])])
    assert twice[0] == pytest.approx(given, rel=1e-12)


def test_starts_and_relations_together_have_mass_one() -> None:
    """The density of where a third stroke begins, integrated over the paper for one that begins by
    itself, and about the anchors of those that are attached; along, for one place of each part,
    since places have density 1.
    """
    prior = random_prior(5, primitives=2)
    earlier = write_program(
        [[line((40, 40), (70, 40)), line((70, 40), (70, 60))], [line((40, 70), (60, 75))]]
    ).strokes

    def density(x: float, y: float, relation: Relation) -> float:
        stroke = ProgramStroke(np.array([x, y]), relation, earlier[0].parts)
        return math.exp(prior.log_prob_of_start(stroke, earlier))

    middles = np.arange(2.5, PAPER, 5)
    alone = Relation("independent")
    masses = {"independent": sum(25 * density(x, y, alone) for x in middles for y in middles)}
    around = np.arange(-8, 9)
    for relation in (
        Relation("start", 0), Relation("start", 1),
        Relation("end", 0, 1, 1.0), Relation("end", 1, 0, 1.0),
        Relation("along", 0, 0, 0.3), Relation("along", 0, 1, 0.3), Relation("along", 1, 0, 0.3),
    ):  # fmt: skip
        x, y = find_anchor(relation, earlier)
        mass = sum(density(x + a, y + b, relation) for a in around for b in around)
        masses[relation.kind] = masses.get(relation.kind, 0) + mass
    for kind, share in zip(KINDS, prior.relation, strict=True):
        assert masses[kind] == pytest.approx(share, rel=1e-4), kind
