"""Whole episodes as they are handed on: the actor's log-probabilities where it gives any, and a
state that another world refuses.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from fledge.errors import UserError
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from tests.sample.test_episodes import Coin, Ladder, Left
from tests.subjects import same_bits


def whole(world: str) -> WholeEpisodes:
    return WholeEpisodes(make_world(world, 2), Left(), Stopwatch(), seed=0)


def test_the_actors_log_probabilities_stand_beside_its_actions() -> None:
    rows = next(WholeEpisodes(Ladder(3), Coin(), Stopwatch(), seed=0))
    assert rows.logp is not None
    assert torch.equal(rows.logp, torch.full((3, 4), 0.5).log())  # ln ½ at every step of a coin


def test_an_actor_that_gives_no_log_probabilities_leaves_none() -> None:
    assert next(WholeEpisodes(Ladder(3), Left(), Stopwatch(), seed=0)).logp is None


def test_a_saved_sampler_goes_on_with_the_same_episodes() -> None:
    make = lambda: WholeEpisodes(Ladder(3), Coin(), Stopwatch(), seed=0)  # noqa: E731
    straight, resumed = make(), make()
    next(straight)
    resumed.load_state_dict(deepcopy(straight.state_dict()))
    assert same_bits(next(straight), next(resumed))
    assert straight.figures == resumed.figures


def test_a_refusal_tells_the_saved_bounds_apart_from_those_of_today() -> None:
    """Pendulum's torque is ±2 N·m; the cart has choices, and with them no bounds."""
    pendulum, cart = whole("Pendulum-v1"), whole("CartPole-v1")
    saved = pendulum.state_dict()
    pendulum.load_state_dict(saved)
    with pytest.raises(
        UserError,
        match=r"to act between \[-5.0\] and \[5.0\], and .* told between \[-2.0\] and \[2.0\]",
    ):
        pendulum.load_state_dict(saved | {"bounds": torch.tensor([[-5.0], [5.0]])})
    with pytest.raises(UserError, match=r"the world.s own units, and .* told between"):
        pendulum.load_state_dict(saved | {"bounds": None})
    with pytest.raises(UserError, match=r"between \[-2.0\] and \[2.0\], and .* in its own units"):
        cart.load_state_dict(saved)
