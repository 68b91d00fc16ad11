"""Worlds of one's own: out of a file, as a class, as a function that makes one, as one that is made
already; and what is wrong with them.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.make import make_world

MINE = """\
import gymnasium, numpy as np
from gymnasium import spaces

LOADED = []

class Dial(gymnasium.Env):
    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Box(-4, 4, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None, most=3):
        self.render_mode, self.most, self.at = render_mode, most, 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0.0
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += float(action[0])
        return np.array([self.at], np.float32), self.at, self.at >= self.most, False, {}

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)

def short():
    return Dial(most=1)

def nothing():
    return 3

def broken():
    raise KeyError("no dial")

def leaving():
    raise SystemExit(3)

ready = Dial(most=2)
number = 7
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def goes_until(world) -> float:
    """How far the first copy gets before it ends, a quarter of the way up a step: a unit each."""
    world.reset(0)
    for step in range(1, 10):
        after = world.step(torch.full((world.copies, 1), 0.25))
        if after.terminated[0]:
            world.close()
            return float(step)
    raise AssertionError


@pytest.mark.parametrize(("name", "most"), [("Dial", 3), ("short", 1), ("ready", 2)])
def test_a_class_a_function_and_an_instance_of_a_file_are_worlds(
    name: str, most: int, mine: Path
) -> None:
    for path in ("./mine.py", "mine.py", str(mine / "mine.py")):
        world = make_world(f"{path}:{name}", 3)
        assert world.copies == 3
        assert goes_until(world) == most
    assert goes_until(make_world(f"mine.py:{name}", 2, processes=True)) == most


class Here(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, begin: int = 0) -> None:
        self.count = self.begin = begin

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        self.count = self.begin
        return np.array([self.count], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.count += int(action)
        return np.array([self.count], np.float32), 1.0, False, False, {}


def test_what_python_gives_is_a_world_too_and_copies_are_their_own() -> None:
    given = Here(5)
    for what, begin in ((Here, 0), (lambda: Here(2), 2), (given, 5)):
        world = make_world(what, 2)
        assert world.reset(0).tolist() == [[begin]] * 2
        assert world.step(torch.tensor([1, 0])).obs.tolist() == [[begin + 1], [begin]]
    assert given.count == 5  # it is copied, not used
    assert make_world(given, 1).name == f"python:{__name__}.Here"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./mine.py:Dail", "has nothing called `Dail`: perhaps you meant mine.py:Dial"),
        ("./mine.py:number", "is a int: an environment of gymnasium, or what makes one"),
        ("./mine.py:nothing", "made a int, and an environment of gymnasium was wanted"),
        (
            "./mine.py:broken",
            r"failed as it was made \(KeyError: 'no dial', .*mine.py, line [0-9]+\)",
        ),
        ("./mine.py:leaving", r"failed as it was made \(SystemExit: 3, .*mine.py, line [0-9]+\)"),
        ("./none.py:Dial", r"there is no .* none.py"),
        ("python:me.Mine", "was given as an object in Python"),
    ],
)
def test_what_is_no_world_says_so_in_one_sentence(name: str, said: str, mine: Path) -> None:
    with pytest.raises(UserError, match=said) as told:
        make_world(name, 2)
    assert "\n" not in str(told.value)


def test_a_file_that_changes_is_read_again(mine: Path) -> None:
    import os

    assert goes_until(make_world("mine.py:Dial", 1)) == 3
    (mine / "mine.py").write_text(MINE.replace("most=3", "most=5"))
    os.utime(mine / "mine.py", ns=(0, 10**18))
    assert goes_until(make_world("mine.py:Dial", 1)) == 5


def test_an_instance_that_cannot_be_copied_says_what_to_give() -> None:
    held = Here()
    held.lock = (each for each in ())  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match=r"as it was copied; give its class, or a function"):
        make_world(held, 2)
