"""Names of worlds: the fastest that bears the name, and advice where nobody does."""

from __future__ import annotations

import sys

import gym_examples
import pytest

from fledge.errors import UserError
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.gym import GymWorld
from fledge.worlds.make import make_world
from fledge.worlds.mujoco_batch import BODIES, MujocoBatch
from fledge.worlds.units import InUnits
from fledge.worlds.words_world import WordsWorld

gym_examples.register()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CartPole-v1", BatchedCartPole),
        ("Acrobot-v1", GymWorld),
        ("Test/Cut-v0", GymWorld),
        ("gym_examples:Test/Cut-v0", GymWorld),
        ("words:reverse,upper", WordsWorld),
        *((name, MujocoBatch) for name in BODIES),
    ],
)
def test_a_name_gets_its_world(name, kind):
    world = make_world(name, 2)
    assert type(world.world if isinstance(world, InUnits) else world) is kind
    assert (world.name, world.copies, len(world.reset(0))) == (name, 2, 2)
    world.close()


def test_processes_mean_gymnasiums_own():
    world = make_world("CartPole-v1", 2, processes=True)
    assert isinstance(world, GymWorld)
    world.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cartpole", "no world 'cartpole': perhaps you meant CartPole-v1"),
        ("CartPole-v9", "perhaps you meant CartPole-v1"),
        ("HalfCheeta-v5", "perhaps you meant HalfCheetah-v5"),
        ("halfcheetah", "perhaps you meant HalfCheetah-v5"),
        ("Test/Cutt-v0", "perhaps you meant Test/Cut-v0"),
        ("words", "perhaps you meant words:"),
        ("qqqq", "no world 'qqqq'.*give the name of one that gymnasium has"),
        ("", "no world ''"),
        ("spaces in it", "no world 'spaces in it'"),
        (
            "no_such_module:World-v0",
            "as the module no_such_module was imported .*No module named 'no_such_module'",
        ),
        ("gym_examples:Test/Cutt-v0", "perhaps you meant gym_examples:Test/Cut-v0"),
        ("words:revers", "no task 'revers': perhaps you meant reverse"),
    ],
)
def test_an_unknown_name_gets_advice(name, said):
    with pytest.raises(UserError, match=said):
        make_world(name, 1)


def test_without_gymnasium_the_own_worlds_remain(monkeypatch):
    monkeypatch.delitem(sys.modules, "fledge.worlds.gym")
    monkeypatch.setitem(sys.modules, "gymnasium.error", None)
    with pytest.raises(
        UserError, match=r"Acrobot-v1 is gymnasium's, which is not here .*: pip install gymnasium"
    ):
        make_world("Acrobot-v1", 1)
    assert make_world("CartPole-v1", 1).reset(0).shape == (1, 4)


def test_a_version_that_is_gone_is_told():
    with pytest.raises(UserError, match="Hopper-v2"):
        make_world("Hopper-v2", 1)


def test_no_copies_are_not_possible():
    with pytest.raises(UserError, match="0 copies of CartPole-v1 were asked for: 1 or more"):
        make_world("CartPole-v1", 0)


@pytest.mark.parametrize("drawn", ["S..", "S#+", "..\n.S", "S.#+\n..#."])
def test_a_map_whose_exit_cannot_be_reached_says_so(drawn, tmp_path):
    (tmp_path / "map.txt").write_text(drawn)
    with pytest.raises(UserError, match="no way leads from a start to an exit"):
        make_world(f"gridworld:{tmp_path / 'map.txt'}", 1)
    (tmp_path / "map.txt").write_text(
        drawn.replace("#", ".") + "\n" + "." * (len(drawn.splitlines()[0]) - 1) + "-"
    )
    assert make_world(f"gridworld:{tmp_path / 'map.txt'}", 1).copies == 1
