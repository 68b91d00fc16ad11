"""Copies that are set to what was seen do what the world itself does next, and worlds that cannot
be set say so.
"""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.plan.rolling_out import roll_out
from fledge.plan.world_copies import WorldCopies
from fledge.recipes.control.planners import look_ahead_in
from fledge.worlds.make import make_world
from fledge.worlds.set_to import can_be_set, set_to
from fledge.worlds.world import Choices
from tests.subjects import seeded

SETTABLE = (
    "CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0",
)  # fmt: skip


@pytest.mark.parametrize("name", SETTABLE)
def test_copies_do_what_the_world_does_next(name: str) -> None:
    """Three copies, ten steps from where they have come: the same rewards, and the same
    observations to float32, in which they were seen.
    """
    world, random = make_world(name, 3), seeded(0)
    obs = world.reset(1)

    def anything() -> torch.Tensor:
        if isinstance(world.action, Choices):
            return torch.randint(world.action.sizes[0], (3,), generator=random)
        return 2 * torch.rand(3, *world.action.shape, generator=random) - 1

    for _ in range(5):
        obs = world.step(anything()).obs
    actions = [anything() for _ in range(4)]
    copies = WorldCopies(lambda n: make_world(name, n))
    state = copies.begin(obs, 2)
    for action in actions:
        said = copies.step(state, action.repeat_interleave(2, 0), random)
        state, true = said.state, world.step(action)
        torch.testing.assert_close(state, true.obs.repeat_interleave(2, 0), rtol=1e-4, atol=1e-5)
        reward = true.reward.repeat_interleave(2)[None]
        torch.testing.assert_close(said.reward, reward, rtol=1e-4, atol=1e-4)
        assert torch.equal(said.going == 0, true.terminated.repeat_interleave(2)[None])
    copies.close()


def test_what_has_ended_in_a_copy_stays_ended() -> None:
    """A pole pushed one way falls within 11 steps or so; the sequence is worth as many, though the
    copy has begun anew.
    """
    world = make_world("CartPole-v1", 1)
    obs = world.reset(0)
    copies = WorldCopies(lambda n: make_world("CartPole-v1", n))
    worth = roll_out(copies, obs, torch.ones(1, 1, 40, dtype=torch.long), 1.0, seeded(0))
    lasted = 0
    while not bool(world.step(torch.ones(1, dtype=torch.long)).terminated):
        lasted += 1
    assert float(worth) == lasted + 1


def test_a_world_that_cannot_be_set_says_which_planners_work() -> None:
    world = make_world("words:reverse", 1)
    assert not can_be_set(world)
    with pytest.raises(UserError, match="every planner"):
        look_ahead_in(world, "words:reverse")
    with pytest.raises(UserError, match="every planner"):
        set_to(world, world.reset(0))
