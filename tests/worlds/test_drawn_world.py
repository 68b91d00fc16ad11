"""Worlds in pictures are the worlds themselves, and their pictures tell the states apart."""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.make import make_world
from fledge.worlds.world import Box


@pytest.mark.parametrize("name", ["CartPole-v1", "gridworld"])
def test_what_happens_is_what_happens_in_the_world_itself(name: str) -> None:
    world, drawn = make_world(name, 5), make_world(f"drawn:{name}", 5)
    assert drawn.name == f"drawn:{name}"
    seen, shown = world.reset(3), drawn.reset(3)
    assert isinstance(drawn.observation, Box)
    assert shown.shape[1:] == drawn.observation.shape
    assert shown.dtype == torch.uint8
    random = torch.Generator().manual_seed(0)
    for step in range(40):
        action = torch.randint(2, (5,), generator=random)
        one, other = world.step(action), drawn.step(action)
        for a, b in zip(one[1:], other[1:], strict=True):
            assert torch.equal(a, b)
        same = (one.obs.view(5, 1, -1) == one.obs.view(1, 5, -1)).all(-1)
        alike = (other.obs.view(5, 1, -1) == other.obs.view(1, 5, -1)).all(-1)
        assert bool((alike | ~same).all())
        if name == "gridworld":
            assert torch.equal(alike, same)
        if step == 20:
            state = drawn.state_dict()
            assert torch.equal(drawn.load_state_dict(state), other.obs)
    assert seen.shape[0] == 5
    drawn.close()


@pytest.mark.parametrize("name", ["drawn:Pendulum-v1", "drawn:", "drawn:gridworld:nowhere.txt"])
def test_what_is_not_drawn_is_said(name: str) -> None:
    with pytest.raises(UserError, match=r"drawn:|cannot be read"):
        make_world(name, 1)
