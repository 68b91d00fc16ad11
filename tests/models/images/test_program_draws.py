"""Draws: in the prior's proportions, on the paper, and still the same character."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fledge.images.ink import PAPER
from fledge.models.images.program_draws import fits, invent, redraw
from fledge.models.images.programs import make_even_prior
from tests.models.images.programs import letter_t, random_prior

stats = pytest.importorskip("scipy.stats")


def test_as_many_strokes_and_parts_as_the_prior_says() -> None:
    """Small strokes in the middle, so that all fit; 200 characters, χ² at 1e-5."""
    prior = random_prior(7, primitives=2)
    start = np.zeros_like(prior.start)
    start[:, 3, 3] = 1
    prior = replace(
        prior, start=start, size_mean=np.zeros(2), size_variance=np.full(2, 1e-4),
        relation=np.array([0.4, 0.2, 0.2, 0.2]), attached=np.array(0.5),
    )  # fmt: skip
    random = np.random.default_rng(0)
    drawn = [invent(prior, random) for _ in range(200)]
    strokes = np.bincount([len(p.strokes) for p in drawn], minlength=11)[1:]
    assert stats.chisquare(strokes, 200 * prior.strokes).pvalue > 1e-5
    for number in range(1, 11):
        counted = [len(s.parts) for p in drawn if len(p.strokes) == number for s in p.strokes]
        parts = np.bincount(counted, minlength=11)[1:]
        assert stats.chisquare(parts, parts.sum() * prior.parts[number - 1]).pvalue > 1e-6
    kinds = [s.relation.kind for p in drawn for s in p.strokes[1:]]
    counted = np.array([kinds.count(k) for k in ("independent", "start", "end", "along")])
    assert stats.chisquare(counted, len(kinds) * prior.relation).pvalue > 1e-5


def test_strokes_are_as_long_as_the_prior_says_although_they_have_to_fit() -> None:
    """Half are of size 10, which fit nearly anywhere, half of 110, curves over half the paper,
    which fit from few places: of 200 characters 100 are long, within 4.5 deviations (1e-5).
    """
    one = np.eye(10)[0]
    prior = replace(
        make_even_prior(2), strokes=one, parts=np.tile(one, (10, 1)),
        size_mean=np.log([10.0, 110.0]), size_variance=np.full(2, 1e-4),
    )  # fmt: skip
    random = np.random.default_rng(3)
    long = sum(invent(prior, random).strokes[0].parts[0].size > 30 for _ in range(200))
    assert abs(long - 100) < 4.5 * np.sqrt(50)


def test_another_hand_keeps_what_is_attached_attached() -> None:
    prior = make_even_prior(2)
    random = np.random.default_rng(1)
    for _ in range(20):
        again = redraw(letter_t(), prior, random)
        bar, stem = again.draw()
        assert np.linalg.norm(bar - stem[0], axis=1).min() < 4 * float(prior.attached)
        every = np.concatenate([bar, stem])
        assert every.min() > 0
        assert every.max() < PAPER
        assert np.abs(bar - letter_t().draw()[0]).max() > 0.1
    still = replace(prior, hand=np.zeros(5), attached=np.array(0.0))
    assert np.allclose(redraw(letter_t(), still, random).draw()[0], letter_t().draw()[0])


def test_strokes_stay_on_the_paper_where_they_can() -> None:
    prior = replace(random_prior(7, primitives=2), size_mean=np.array([2.5, 3.0]))
    random = np.random.default_rng(2)
    inside = [fits(s) for _ in range(40) for s in invent(prior, random).strokes]
    assert np.mean(inside) > 0.97
    one = np.eye(10)[0]  # stroke of one sub-stroke, far too long
    parts = np.tile(one, (10, 1))
    prior = replace(make_even_prior(1), size_mean=np.array([9.0]), strokes=one, parts=parts)
    program = invent(prior, random)
    assert not fits(program.strokes[0])
    assert redraw(program, prior, random).strokes
