"""Counting: expected primitives by enumeration, a likelihood that never falls, numbers that come
back out of drawings that were made by them, and a run that goes on with the same bits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.images.program_counts import (
    begin_primitives,
    count_structure,
    expect_primitives,
    fit_primitives,
    measure_hands,
    read_programs,
)
from fledge.algorithms.images.programs import Programs
from fledge.errors import UserError
from fledge.images.digits import load_digits
from fledge.images.pictures import Pictures, PictureShape
from fledge.images.scribbles import draw_scribbles
from fledge.models.images.program_draws import invent, redraw
from fledge.models.images.program_prior import NAMES, Chains
from fledge.models.images.programs import make_even_prior
from fledge.models.images.stroke_program import write_program
from fledge.stopwatch import Stopwatch
from tests.models.images.programs import letter_t, line, random_prior


def start(settings: Programs.Settings | None = None) -> tuple[Programs, Any]:
    given = draw_scribbles(characters=4, hands=5)
    settings = settings or Programs.Settings(primitives=6)
    torch.manual_seed(0)
    nothing: Any = None
    model = Programs.build(settings, given.shape)
    return Programs(settings, model, nothing, 3, Stopwatch()), given.rows


def test_expected_primitives_are_those_of_all_chains() -> None:
    prior = random_prior(1, primitives=3)
    program = write_program(
        [[line((20, 20), (60, 25)), line((60, 25), (55, 70)), line((55, 70), (20, 60))]]
    )
    chains = read_programs([program])
    emission = prior.log_emission(chains.shape, chains.size)[0]
    weight: dict[tuple[int, ...], float] = {}
    for chosen in itertools.product(range(3), repeat=3):
        weight[chosen] = prior.first[chosen[0]] * math.exp(
            sum(emission[i, z] for i, z in enumerate(chosen))
            + sum(math.log(prior.following[a, b]) for a, b in itertools.pairwise(chosen))
        )
    total = sum(weight.values())
    expected = expect_primitives(prior, chains)
    for i, z in itertools.product(range(3), range(3)):
        mass = sum(w for chosen, w in weight.items() if chosen[i] == z) / total
        assert expected.gamma[0, i, z] == pytest.approx(mass, abs=1e-10)
    for a, b in itertools.product(range(3), range(3)):
        pairs = sum(
            w * ((chosen[0], chosen[1]) == (a, b)) + w * ((chosen[1], chosen[2]) == (a, b))
            for chosen, w in weight.items()
        )
        assert expected.pairs[a, b] == pytest.approx(pairs / total, abs=1e-10)
    assert expected.log_prob == pytest.approx(math.log(total), rel=1e-10)


def test_the_likelihood_never_falls() -> None:
    """But for imagined counts, here as good as none."""
    algorithm, rows = start(Programs.Settings(primitives=6, counts=1e-9))
    losses = [algorithm.update(rows)["loss"] for _ in range(12)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(losses))
    assert losses[0] - losses[-1] > 1


def test_every_table_sums_to_one() -> None:
    algorithm, rows = start()
    algorithm.update(rows)
    prior = algorithm.model.prior
    for table in (prior.strokes, prior.first, prior.relation):
        assert table.sum() == pytest.approx(1)
        assert table.min() > 0
    assert prior.parts.sum(1) == pytest.approx(np.ones(10))
    assert prior.parts.min() > 0
    assert prior.following.sum(1) == pytest.approx(np.ones(6))
    assert prior.start.sum((1, 2)) == pytest.approx(np.ones(2))


def test_structure_is_counted_as_it_was_drawn() -> None:
    """60 programs of short strokes in the middle: the shares of numbers of strokes, and of
    sub-strokes in characters of as many strokes, are those that counting them one by one gives.
    """
    true = random_prior(2, primitives=2)
    start = np.zeros_like(true.start)
    start[:, 3, 3] = 1
    true = replace(true, size_mean=np.zeros(2), size_variance=np.full(2, 1e-4), start=start)
    random = np.random.default_rng(5)
    programs = [invent(true, random) for _ in range(60)]
    counted = count_structure(make_even_prior(2), programs, [0] * 60, counts=1e-6)
    strokes = np.bincount([len(p.strokes) for p in programs], minlength=11)[1:] / 60
    assert counted.strokes == pytest.approx(strokes, abs=1e-6)
    for number in range(1, 11):
        of = [len(s.parts) for p in programs if len(p.strokes) == number for s in p.strokes]
        parts = np.bincount(of, minlength=11)[1:] / max(1, len(of))
        even = np.full(10, 0.1)  # of what was never seen
        assert counted.parts[number - 1] == pytest.approx(parts if of else even, abs=1e-5)


def test_two_kinds_of_sub_stroke_are_told_apart() -> None:
    lines = [write_program([[line((20, 20), (20 + n, 21))]]) for n in range(30, 50)]
    angle = np.linspace(0, 4.5, 60)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    arcs = [write_program([[50 + n * ring]]) for n in range(10, 20)]
    chains = read_programs([*lines, *arcs])
    prior = begin_primitives(make_even_prior(2), chains, np.random.default_rng(0))
    for _ in range(10):
        prior = fit_primitives(prior, chains, expect_primitives(prior, chains), 1e-3)
    gamma = expect_primitives(prior, chains).gamma[:, 0].round(6)
    assert len(np.unique(gamma[:20].argmax(1))) == 1
    assert gamma[0].argmax() != gamma[-1].argmax()
    assert sorted(prior.first) == pytest.approx([1 / 3, 2 / 3], abs=1e-3)


def test_hands_differ_as_they_were_made_to() -> None:
    """300 hands of a letter of two strokes: each deviation within a fifth, but that of shapes and
    sizes, which is of what the normalising leaves.
    """
    prior = replace(
        make_even_prior(1), hand=np.array([0.02, 0.08, 3.0, 0.05, 1.0]), attached=np.array(1.0)
    )
    random = np.random.default_rng(0)
    apart = write_program([[line((20, 20), (80, 25))], [line((50, 50), (50, 85))]])
    drawn = [redraw(apart, prior, random) for _ in range(300)]
    of_shape, of_size, of_start, of_all, _ = measure_hands(drawn, [0] * 300)
    assert 0.01 < of_shape < 0.03
    assert 0.04 < of_size < 0.1  # less what all strokes share: √½ of it
    assert 1.5 < of_start < 4.5  # less where the middle is
    assert 0.05 < of_all < 0.1
    assert measure_hands([letter_t()], [0]).tolist() == [0.01, 0.01, 0.5, 0.01, 0.5]


def test_it_goes_on_with_the_same_bits_in_whatever_order_drawings_come() -> None:
    one, rows = start()
    for _ in range(5):
        one.update(rows)
    other, _ = start()
    for _ in range(2):
        other.update(rows)
    again, _ = start()
    again.load_state_dict(other.state_dict())
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    said = [again.update(rows[order]) for _ in range(3)]
    for name in NAMES:
        assert torch.equal(getattr(one.model, name), getattr(again.model, name)), name
    assert said[-1]["rows"] == len(rows)


def test_pictures_without_strokes_are_refused() -> None:
    digits = load_digits()
    with pytest.raises(UserError, match="drawings whose strokes are known"):
        Programs.build(Programs.Settings(), digits.shape)
    algorithm, rows = start()
    with pytest.raises(UserError, match="pictures alone"):
        algorithm.update(Pictures.of(rows))
    assert isinstance(
        Programs.build(Programs.Settings(), PictureShape(1, 105, 105, 2)).prior.first, np.ndarray
    )


def test_a_primitive_of_which_nothing_is_stays() -> None:
    prior = random_prior(0, primitives=2)
    chains = Chains(prior.shape_mean[:1, None], prior.size_mean[:1, None], np.array([1]))
    expected = expect_primitives(prior, chains)
    expected.gamma[:] = [[[1.0, 0.0]]]
    fitted = fit_primitives(prior, chains, expected, 0.1)
    assert (fitted.shape_mean[1] == prior.shape_mean[1]).all()
    assert fitted.shape_variance[0] == pytest.approx(np.full(10, 1e-3))
