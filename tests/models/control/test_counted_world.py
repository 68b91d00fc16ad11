"""Posteriors of a counted world in closed form, the moments of what is drawn from them, and the
same draws after a stop.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.models.control.counted_world import CountedWorld, Prior
from fledge.runs.checkpoint import load_state, save_state

STATES, ACTIONS = 3, 2
SEEN = [(0, 1.0, 1), (0, 3.0, 1), (0, 2.0, 2), (3, -1.0, 3), (4, 0.5, 0)]  # 3 is the end


def counted() -> CountedWorld:
    world = CountedWorld(STATES, ACTIONS)
    for step in SEEN:
        world.see(*step)
    return world


def test_the_mean_of_the_posterior_is_the_counts_and_the_prior() -> None:
    """(α/4 + n) / (α + Σn) with α = 2; the first pair: 0, 2, 1, 0 times."""
    process = counted().expect(Prior(chances=2.0), gamma=0.9)
    assert process.dense()[0, 0].tolist() == pytest.approx([0.5 / 5, 2.5 / 5, 1.5 / 5, 0.5 / 5])
    assert process.dense()[1, 0].tolist() == [0.25] * 4  # never tried
    assert process.terminal.tolist() == [False, False, False, True]


def test_hardly_a_prior_leaves_the_shares_that_were_counted() -> None:
    process = counted().expect(Prior(chances=1e-9, spread=1e6, noise=1e-3), gamma=0.9)
    assert process.dense()[0, 0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=1e-8)
    assert float(process.reward[0, 0]) == pytest.approx(2.0)
    assert process.dense()[1, 1, 3] == pytest.approx(1.0)


def test_the_mean_payment_is_normal_with_a_normal_prior() -> None:
    """Precisions add up: 1/4 before, three of 1/0.25; the mean weighs by them."""
    prior = Prior(reward=-1.0, spread=2.0, noise=0.5)
    mean, spread = counted()._payments(prior)
    exactness = 1 / 4 + 3 / 0.25
    assert float(mean[0, 0]) == pytest.approx((-1 / 4 + 6 / 0.25) / exactness)
    assert float(spread[0, 0]) == pytest.approx(exactness**-0.5)
    assert float(mean[0, 1]) == -1.0
    assert float(spread[0, 1]) == 2.0


def test_drawn_worlds_have_the_moments_of_a_dirichlet() -> None:
    """Mean a_i/a_0, variance a_i (a_0 − a_i) / (a_0² (a_0 + 1)) over 1,000 draws: each mean within
    5 of its standard errors, a false alarm in 10⁵ for the eight together.
    """
    world, prior, n = counted(), Prior(chances=2.0), 1000
    random = torch.Generator().manual_seed(3)
    drawn = torch.stack([world.draw(prior, 0.9, random).dense()[0, :2] for _ in range(n)])
    for s, weight in enumerate(([0.5, 2.5, 1.5, 0.5], [0.5, 0.5, 0.5, 0.5])):
        a = torch.tensor(weight, dtype=torch.float64)
        mean, variance = a / a.sum(), a * (a.sum() - a) / (a.sum() ** 2 * (a.sum() + 1))
        off = (drawn[:, s].mean(0) - mean) / (variance / n).sqrt()
        assert off.abs().max() < 5
        assert (drawn[:, s].var(0) / variance - 1).abs().max() < 0.3


def test_a_world_that_goes_on_draws_the_same(tmp_path: Path) -> None:
    one, other = counted(), CountedWorld(STATES, ACTIONS)
    save_state(tmp_path / "state", one.state_dict())
    other.load_state_dict(load_state(tmp_path / "state"))
    assert other.pairs == one.pairs
    assert other.tried == one.tried
    for world in (one, other):
        world.see(0, 1.0, 0)
    drawn = [world.draw(Prior(), 0.9, torch.Generator().manual_seed(1)) for world in (one, other)]
    assert torch.equal(drawn[0].dense(), drawn[1].dense())
    assert torch.equal(drawn[0].reward, drawn[1].reward)


def test_too_many_states_for_a_table_of_chances_are_said() -> None:
    with pytest.raises(UserError, match="algorithm=dyna"):
        CountedWorld(10_000, 4).count()
