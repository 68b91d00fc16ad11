"""A world of text as a task: examples drawn by index, played again from their beginning whenever
somebody asks what a turn came to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from fledge.splits import Split, checked, split_of
from fledge.tasks.examples import Example, Verdict, draw_integer

T = TypeVar("T")
PART = 0.5  # the most that is earned without having reached the goal


class Draws:
    """Choices that depend on a key alone and on how many were made before."""

    def __init__(self, key: str) -> None:
        self.key, self.made = key, 0

    def integer(self, below: int) -> int:
        """One of 0 … below − 1."""
        self.made += 1
        return draw_integer(f"{self.key} draw {self.made}", 32) % below

    def one(self, among: Sequence[T]) -> T:
        return among[self.integer(len(among))]

    def several(self, among: Sequence[T], number: int) -> list[T]:
        """Different ones, in an order that is drawn too."""
        left = list(among)
        return [left.pop(self.integer(len(left))) for _ in range(number)]


class Simulation(Protocol):
    """One world at one moment."""

    @property
    def opening(self) -> str:
        """The goal, what is seen at first, and what can be said, as the prompt."""
        ...

    @property
    def layout(self) -> str:
        """All that makes this beginning another than others, what is not seen included."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more can be done, the goal reached or not."""
        ...

    @property
    def progress(self) -> float:
        """How much of the goal is reached, from 0 to 1."""
        ...

    def act(self, command: str) -> str:
        """Do it, and say what came of it."""
        ...

    def solve(self) -> list[str]:
        """Commands that reach the goal from here."""
        ...


@dataclass(frozen=True)
class World:
    """What is known by a name. begin: (level from 1, draws) -> a beginning. turns: of each level,
    the most that may be said.
    """

    name: str
    begin: Callable[[int, Draws], Simulation]
    turns: tuple[int, ...]

    @property
    def levels(self) -> int:
        return len(self.turns)


@dataclass(frozen=True)
class WorldTask:
    """A world at one level. A turn is one command; the score is 1 where the goal was reached and
    `PART` of the progress elsewhere, and only the goal is right.
    """

    name: str
    world: World
    level: int
    seed: int
    note: str | None = None
    holds_out: bool = True
    can_fail: bool = False

    @property
    def turns(self) -> int:
        return self.world.turns[self.level - 1]

    def example(self, index: int, split: Split) -> Example:
        """The beginning at `index`, drawn again until it lies in the split. `answer` is one way to
        the goal, a command a line; `hidden` is what the world is made from again.
        """
        for attempt in itertools.count():
            key = f"{self.seed} {self.world.name}:{self.level} {checked(split)} {index} {attempt}"
            start = self.world.begin(self.level, Draws(key))
            if split_of(f"{self.world.name}: {start.layout}") == split:
                return Example(start.opening, "\n".join(start.solve()), self.name, hidden=key)
        raise AssertionError

    def play(self, example: Example, said: Sequence[str]) -> tuple[Simulation, str]:
        """The world after these commands, of which the first `turns` count and none after it was
        over; and what it said to the last.
        """
        world, reply = self.world.begin(self.level, Draws(example.hidden)), ""
        for command in said[: self.turns]:
            if world.over:
                break
            reply = world.act(command)
        return world, reply

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        return _reply(self, example, tuple(said))

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """By where the commands lead, one a line.  [B], [B] -> [B]"""
        verdicts = []
        for example, completion in zip(examples, completions, strict=True):
            world, _ = self.play(example, completion.split("\n"))
            right = world.progress == 1.0
            verdicts.append(Verdict(1.0 if right else PART * world.progress, right))
        return verdicts

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """There is none."""


@lru_cache(maxsize=4096)
def _reply(task: WorldTask, example: Example, said: tuple[str, ...]) -> str | None:
    world, reply = task.play(example, said)
    return None if world.over else reply
