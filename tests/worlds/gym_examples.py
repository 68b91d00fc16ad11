"""Small gymnasium environments that the tests register: each shows one thing that a world may do,
well or badly.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

LINE = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float64)


class Counting(gymnasium.Env):
    """Shows how many steps were taken in this episode, and which episode it is; pays 1; never ends
    by itself.
    """

    observation_space: spaces.Space = LINE
    action_space: spaces.Space = spaces.Discrete(2)

    def __init__(self, **settings: Any) -> None:
        self.episode = -1
        self.steps = 0

    def seen(self) -> Any:
        return np.array([self.steps, self.episode], dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.steps = 0
        return self.seen(), {}

    def step(self, action) -> Any:
        self.steps += 1
        return self.seen(), 1.0, False, False, {}


class Misbehaving(Counting):
    """Does in a step what it was told when it was made."""

    def __init__(self, deed: str) -> None:
        super().__init__()
        self.deed = deed

    def step(self, action) -> Any:
        exec(self.deed)
        return super().step(action)


class Ending(Counting):
    def step(self, action) -> Any:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, self.steps == 10, truncated, info


class Noisy(Counting):
    """Begins at random, and nobody knows what its state is."""

    def seen(self) -> Any:
        return self.np_random.uniform(size=2)


class Repeating(Counting):
    """Shows the action it was told, as numbers."""

    action_space = spaces.Box(
        np.array([-1.0, 0.0], dtype=np.float32), np.array([1.0, np.inf], dtype=np.float32)
    )

    def step(self, action) -> Any:
        return np.array(action, dtype=np.float64), 0.0, False, False, {}


class RepeatingChoices(Counting):
    """As `Repeating`; the choices begin at 5 and at −1."""

    action_space = spaces.MultiDiscrete([3, 4], start=[5, -1])

    def step(self, action) -> Any:
        assert self.action_space.contains(action)
        return np.array(action, dtype=np.float64), 0.0, False, False, {}


class FromMinusTwo(Counting):
    """One choice of four from −2 on; what it was told last is shown, in choices from 7 on."""

    action_space = spaces.Discrete(4, start=-2)
    observation_space = spaces.Discrete(4, start=7)

    def seen(self) -> Any:
        return np.int64(7)

    def step(self, action) -> Any:
        assert self.action_space.contains(action)
        return np.int64(action + 2 + 7), 0.0, False, False, {}


class Bits(Counting):
    observation_space = spaces.MultiBinary(3)
    action_space = spaces.MultiBinary(3)

    def seen(self) -> Any:
        return np.array([0, 1, 1], dtype=np.int8)

    def step(self, action) -> Any:
        return action, 0.0, False, False, {}


class Coloured(Counting):
    """A picture [36, 37, 3]: its red is the row, its green the column, its blue the step."""

    observation_space = spaces.Box(0, 255, (36, 37, 3), dtype=np.uint8)

    def seen(self) -> Any:
        row, column = np.meshgrid(range(36), range(37), indexing="ij")
        return np.stack([row, column, np.full((36, 37), self.steps)], -1).astype(np.uint8)


class Grey(Counting):
    observation_space = spaces.Box(0, 255, (40, 50), dtype=np.uint8)

    def seen(self) -> Any:
        return np.full((40, 50), self.steps, dtype=np.uint8)


class Board(Counting):
    """A board [2, 3] of 0 to 4: 0, 1, 2 above and the step below."""

    observation_space = spaces.Box(0, 4, (2, 3), dtype=np.uint8)

    def seen(self) -> Any:
        return np.array([[0, 1, 2], [self.steps] * 3], dtype=np.uint8)


class SmallPicture(Counting):
    """[7, 7, 3], from 0 to 255: all of it the step."""

    observation_space = spaces.Box(0, 255, (7, 7, 3), dtype=np.uint8)

    def seen(self) -> Any:
        return np.full((7, 7, 3), self.steps, dtype=np.uint8)


class InADict(Counting):
    """What is where, out of order; the choice begins at 3."""

    observation_space = spaces.Dict(
        {"where": LINE, "also": spaces.Tuple((spaces.Discrete(3, start=3), spaces.MultiBinary(2)))}
    )

    def seen(self) -> Any:
        return {
            "also": (3 + self.steps % 3, np.array([1, 0], dtype=np.int8)),
            "where": np.array([self.steps, -1.0]),
        }


class GridOfBits(Counting):
    """Shows and is told bits in a grid [2, 3]: shows the last it was told."""

    observation_space = action_space = spaces.MultiBinary([2, 3])

    def seen(self) -> Any:
        return np.zeros((2, 3), dtype=np.int8)

    def step(self, action) -> Any:
        assert self.action_space.contains(action), action
        return action, 1.0, False, False, {}


class OddAndEven(Counting):
    """Knows whether its seed was odd."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.odd = seed % 2 == 1
        return super().reset(seed=seed)


class NotANumber(OddAndEven):
    """Shows NaN at its third step where its seed is odd."""

    def seen(self) -> Any:
        return np.array([0.0, np.nan if self.steps == 3 and self.odd else 0.0])


class PaysInfinity(Counting):
    def step(self, action) -> Any:
        return self.seen(), np.inf, False, False, {}


class Raising(Counting):
    def step(self, action) -> Any:
        if self.steps == 2:
            raise RuntimeError("the gripper has come off")
        return super().step(action)


class DrawnAndRaising(Raising):
    def render(self):
        return np.zeros((4, 4, 3), dtype=np.uint8)


class Dying(OddAndEven):
    """Its process ends without a word at the third step where its seed is odd."""

    def step(self, action) -> Any:
        if self.steps == 2 and self.odd:
            os._exit(3)
        return super().step(action)


class RaisingAtBirth(Counting):
    def __init__(self, **settings: Any) -> None:
        raise OSError("no such robot")


class RaisingElsewhere(Counting):
    """Can only be made in the first process."""

    def __init__(self, **settings: Any) -> None:
        if multiprocessing.parent_process() is not None:
            raise OSError("the licence is for one process")
        super().__init__()


class RaisingAtReset(Counting):
    def reset(self, *, seed=None, options=None):
        raise ValueError("no such maze")


class OtherShape(Counting):
    def seen(self) -> Any:
        return np.zeros(3)


class InAGraph(Counting):
    observation_space = spaces.Dict({"where": LINE, "who": spaces.Graph(LINE, None)})


class ToldAText(Counting):
    action_space = spaces.Text(5)


class LacksAModule(Counting):
    def __init__(self, **settings: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not there")


def wrapped(**settings: Any) -> gymnasium.Env:
    return gymnasium.wrappers.TimeAwareObservation(gymnasium.make("Pendulum-v1"))


def register() -> None:
    """All of them as Test/NAME-v0; Counting, cut after 10 steps by gymnasium, as Test/Cut-v0."""
    for kind in [*Counting.__subclasses__(), NotANumber, Dying, DrawnAndRaising]:
        name = f"Test/{kind.__name__}-v0"
        if name not in gymnasium.registry:
            gymnasium.register(name, kind)
    if "Test/Cut-v0" not in gymnasium.registry:
        gymnasium.register("Test/Cut-v0", Counting, max_episode_steps=10)
        gymnasium.register("Test/Endless-v0", Counting)
        # A wrapper with a memory of its own around an environment that is known.
        gymnasium.register("Test/Wrapped-v0", wrapped)
