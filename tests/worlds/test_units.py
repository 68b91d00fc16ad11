"""A world told in units of its bounds is the same world: what −1, 0 and 1 stand for, which worlds
are left as they are, what is cut.
"""

from __future__ import annotations

import math

import pytest
import torch

from fledge.errors import UserError
from fledge.sample.episodes import Episodes
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.gym import GymWorld
from fledge.worlds.make import make_world
from fledge.worlds.units import (
    InUnits,
    bounds_of,
    check_bounds,
    cut_actions,
    find_unscaled_parts,
    put_in_units,
)
from fledge.worlds.world import Box, Choices, Space, Step


class Told:
    """Remembers what it was told; pays nothing and ends after four steps."""

    name, restorable, copies = "told", True, 2
    observation: Space = Box(torch.zeros(1), torch.ones(1))

    def __init__(self, low: list[float], high: list[float]) -> None:
        self.action: Space = Box(torch.tensor(low), torch.tensor(high))
        self.last, self.count = torch.empty(0), 0

    def reset(self, seed: int) -> torch.Tensor:
        self.count = 0
        return torch.zeros(2, 1)

    def step(self, action: torch.Tensor) -> Step:
        self.last, self.count = action, self.count + 1
        over = torch.full((2,), self.count % 5 == 4)
        return Step(torch.zeros(2, 1), torch.zeros(2), over, torch.zeros(2, dtype=torch.bool))

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state) -> torch.Tensor:
        self.count = state["count"]
        return torch.zeros(2, 1)

    def close(self) -> None: ...


LOW, HIGH = (
    [-2000.0, 100.0, -0.25, 0.0, -math.inf, -math.inf, 1e6],
    [2000.0, 300.0, 0.25, math.inf, 5.0, math.inf, 1e6 + 1],
)


def test_minus_one_is_the_lowest_and_one_the_highest_and_what_has_no_bounds_stays() -> None:
    world = Told(LOW, HIGH)
    unit = put_in_units(world)
    assert isinstance(unit, InUnits)
    assert isinstance(unit.action, Box)
    assert unit.action.low.tolist() == [-1, -1, -1, 0, -math.inf, -math.inf, -1]
    assert unit.action.high.tolist() == [1, 1, 1, math.inf, 5, math.inf, 1]
    assert find_unscaled_parts(unit.action).nonzero().flatten().tolist() == [3, 4, 5]
    for u, wanted in (
        (-1.0, [-2000, 100, -0.25, -1, -1, -1, 1e6]),
        (0.0, [0, 200, 0, 0, 0, 0, 1e6 + 0.5]),
        (1.0, [2000, 300, 0.25, 1, 1, 1, 1e6 + 1]),
        (1.5, [3000, 350, 0.375, 1.5, 1.5, 1.5, 1e6 + 1.25]),  # cut by the world, not here
    ):
        unit.step(torch.full((2, 7), u))
        assert world.last.tolist() == [wanted, wanted]


def test_worlds_that_need_no_unit_are_left_as_they_are() -> None:
    for low, high in (
        ([-1.0, -1.0], [1.0, 1.0]),
        ([-1.0, -math.inf], [1.0, math.inf]),
        ([-3.4e38], [3.4e38]),
    ):
        world = Told(low, high)
        assert put_in_units(world) is world
    chosen = Told([0.0], [1.0])
    chosen.action = Choices((3,))
    assert put_in_units(chosen) is chosen
    assert not find_unscaled_parts(chosen.action).any()


@pytest.mark.parametrize(("name", "most"), [("Pendulum-v1", 2.0), ("InvertedPendulum-v5", 3.0)])
def test_every_way_to_step_a_world_tells_it_the_same(name: str, most: float) -> None:
    """In a batch, one after the other and in processes: u is `most`·u of gymnasium's own."""
    if name.endswith("v5"):
        pytest.importorskip("mujoco")
    raw, told = GymWorld(name, 1), [make_world(name, 1), make_world(name, 1, processes=True)]
    seen = [raw.reset(3), *(world.reset(3) for world in told)]
    # the batch draws its starts otherwise
    assert torch.equal(seen[1], seen[0]) or name == "InvertedPendulum-v5"
    torch.testing.assert_close(seen[2], seen[0], rtol=0, atol=0)
    for u in torch.linspace(-1.2, 1.2, 7):
        after = [
            raw.step(torch.full((1, 1), float(u) * most)),
            *(w.step(torch.full((1, 1), float(u))) for w in told),
        ]
        torch.testing.assert_close(after[2].obs, after[0].obs, rtol=0, atol=1e-6)
        if name == "Pendulum-v1":
            torch.testing.assert_close(after[1].obs, after[0].obs, rtol=0, atol=1e-6)
            torch.testing.assert_close(after[1].reward, after[0].reward, rtol=1e-5, atol=1e-6)
    for world in (raw, *told):
        world.close()


def test_the_batch_of_bodies_is_told_in_units_too() -> None:
    """A third of the way up is 1 N·m of ±3: the same as the bare batch given 1."""
    pytest.importorskip("mujoco")
    from fledge.worlds.mujoco_batch import MujocoBatch

    told, bare = make_world("InvertedPendulum-v5", 2), MujocoBatch("InvertedPendulum-v5", 2)
    assert torch.equal(told.reset(1), bare.reset(1))
    for u in (0.25, -0.5, 1.0):
        assert torch.equal(
            told.step(torch.full((2, 1), u)).obs, bare.step(torch.full((2, 1), 3 * u)).obs
        )
    told.close()
    bare.close()


class Wide:
    """Acts inside the bounds in the first copy, beyond them in one part of the second."""

    def act(self, obs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, None]:
        return torch.tensor([[1.0, -1.0], [0.0, 1.01]]), None


def test_the_share_of_actions_that_are_cut_is_counted_over_what_was_chosen() -> None:
    world = put_in_units(Told([-5.0, 0.0], [5.0, 8.0]))
    for sampler in (
        Episodes(world, Wide(), Stopwatch(), steps=9, seed=0),
        WholeEpisodes(world, Wide(), Stopwatch(), seed=0),
    ):
        next(sampler)
        assert sampler.figures["cut_actions"] == 0.5
    assert cut_actions(
        torch.tensor([[[0.0], [1.0], [-1.1]]]), Box(-torch.ones(1), torch.ones(1))
    ).tolist() == [[False, False, True]]


def test_what_was_learned_between_other_bounds_does_not_go_on() -> None:
    wide, far = put_in_units(Told([-5.0], [5.0])), put_in_units(Told([0.0], [8.0]))
    saved = Episodes(wide, Wide(), Stopwatch(), steps=1, seed=0).state_dict()
    other = Episodes(far, Wide(), Stopwatch(), steps=1, seed=0)
    with pytest.raises(
        UserError,
        match=r"between \[-5.0\] and \[5.0\], and told is told between \[0.0\] and \[8.0\]",
    ):
        other.load_state_dict(saved)
    del saved["bounds"]  # as before actions had units
    with pytest.raises(UserError, match="in the world's own units, and told is told between"):
        other.load_state_dict(saved)
    check_bounds(bounds_of(wide), bounds_of(wide), "told")
    check_bounds(None, bounds_of(Told([-1.0], [1.0])), "told")
