"""The deep sea's best value in closed form, how rarely chance finds it, and the river's chances."""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.plan.dynamic_programming import value_iteration
from fledge.worlds.hard_to_explore import deep_sea, river_swim
from fledge.worlds.make import make_world


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_the_best_way_through_the_sea_is_always_to_the_right(depth: int) -> None:
    """γ^(N−1) − 0.01/N Σ γ^t; on the diagonal right is best, everywhere else left, which costs
    nothing.
    """
    gamma = 0.9
    solved = value_iteration(deep_sea(depth, gamma))
    cost = 0.01 / depth * sum(gamma**t for t in range(depth))
    assert float(solved.value[0]) == pytest.approx(gamma ** (depth - 1) - cost, abs=1e-9)
    policy = solved.policy[: depth**2].view(depth, depth)
    on_the_way = torch.eye(depth, dtype=torch.bool)
    assert (policy[on_the_way] == 1).all()
    reached = torch.ones(depth, depth).tril(-1).bool()
    assert (policy[reached] == 0).all()


def test_every_dive_is_as_long_as_the_sea_is_deep() -> None:
    world = make_world("deep_sea:4", 50)
    world.reset(0)
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        after = world.step(torch.randint(2, (50,), generator=random))
        assert not after.terminated.any()
    assert world.step(torch.randint(2, (50,), generator=random)).terminated.all()


def test_who_swims_up_is_driven_back_as_often_as_it_is_said() -> None:
    """Strehl & Littman 2008, figure 3, as rows; and up is best everywhere at γ = 0.99."""
    river = river_swim(0.99)
    up = river.dense()[1]
    assert up[2].tolist() == [0, 0.05, 0.6, 0.35, 0, 0]
    assert up[0].tolist() == [0.4, 0.6, 0, 0, 0, 0]
    assert up[5].tolist() == [0, 0, 0, 0, 0.4, 0.6]
    assert (value_iteration(river).policy == 1).all()


@pytest.mark.parametrize("depth", ["1", "deep", "61", ""])
def test_a_depth_that_is_none_is_said(depth: str) -> None:
    with pytest.raises(UserError, match="deep_sea:"):
        make_world(f"deep_sea:{depth}", 1)
