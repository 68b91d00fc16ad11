"""Invented characters, seen once, are named in another hand's drawing."""

from __future__ import annotations

import numpy as np

from fledge.evaluate.one_shot import compare_programs, judge_run
from fledge.images.one_shot import OneShotRun
from fledge.images.scribbles import draw_scribbles
from fledge.models.images.programs import make_even_prior


def make_run(characters: int, seed: int) -> OneShotRun:
    """Those that are asked stand in another order, by another hand, and not in the same place."""
    x = draw_scribbles(characters, hands=2, seed=seed).rows.x[:, 0].numpy() > 0
    order = np.random.default_rng(seed).permutation(characters)
    asked = np.roll(x[1::2][order], (2, -2), (1, 2))
    return OneShotRun("run", x[::2], asked, order)


def test_programs_name_scribbles() -> None:
    """12 of them, one error allowed; guessing has 11 in the mean."""
    run = make_run(12, seed=1)
    verdict = judge_run(run, make_even_prior(4), np.random.default_rng(0), candidates=3)
    assert verdict.wrong.sum() <= 1
    assert (verdict.wrong == (verdict.chosen != run.answer)).all()


def test_candidates_alone_are_compared_finely() -> None:
    run = make_run(5, seed=2)
    prior = make_even_prior(4)
    costs = compare_programs(run.known, run.asked, prior, np.random.default_rng(0), 2)
    assert np.isfinite(costs).sum(0).tolist() == [2] * 5
    every = compare_programs(run.known, run.asked, prior, np.random.default_rng(0), 9)
    assert np.isfinite(every).all()
    finite = np.isfinite(costs)
    assert np.allclose(costs[finite], every[finite], rtol=1e-3)
