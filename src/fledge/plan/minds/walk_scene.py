"""A walk with somebody in it: a map, things that stand in places, one who sees less than we do,
what they did, and what may go on in their head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.knowledge import Knowledge
from fledge.worlds.gridworld import ACTIONS

ACTS = (*ACTIONS, "stay", "take")
STAY, TAKE = 4, 5


@dataclass(frozen=True)
class Named:
    """One possibility, how likely it is at first, and its numbers."""

    name: str
    chance: float
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class WalkScene:
    """floor: [H, W] bool, where one can walk, numbered in reading order. spot: [P] long, where each
    place is. truth: [P] long, what stands there: 0 nothing, else the thing. visible: [S, P] bool.
    after: [5, S] long, where each move leads. path: what was done. wants: worth of each thing;
    beliefs: of each arrangement its chance; rationality: β, infinite for who never errs.
    """

    title: str
    rows: tuple[str, ...]
    floor: Tensor
    places: tuple[str, ...]
    things: tuple[str, ...]
    spot: Tensor
    truth: Tensor
    visible: Tensor
    after: Tensor
    start: int
    path: tuple[int, ...]
    knowledge: Knowledge
    wants: tuple[Named, ...]
    beliefs: tuple[Named, ...]
    rationality: tuple[float, ...]
    step_cost: float
    gamma: float
    change: float

    def see(self, known: int, place: int) -> int:
        """What is known, of what really stands there, after a look from a state of the floor."""
        before = self.knowledge.states[known]
        after = torch.where(self.visible[place] & (before < 0), self.truth, before)
        return int(self.knowledge.find(after))

    @cached_property
    def steps(self) -> list[tuple[int, int, int]]:
        """What was known, where they stood and what they did, action by action."""
        return self.follow()

    def follow(self) -> list[tuple[int, int, int]]:
        """The steps, walked. Raises UserError for what cannot be done."""
        place, steps = self.start, []
        known = self.see(0, place)
        for number, act in enumerate(self.path, 1):
            if act == TAKE and not self.can_take(known, place):
                raise UserError(
                    f"action {number} of the path, take, is where nothing stands that could be "
                    "taken: every mind excludes it. End the path before it, or walk on to a place."
                )
            if act == TAKE and number < len(self.path):
                raise UserError(
                    f"action {number} of the path is take, which is the last thing that is done, "
                    f"and {len(self.path) - number} more follow: leave them out."
                )
            steps.append((known, place, act))
            if act != TAKE:
                place = int(self.after[act, place])
                known = self.see(known, place)
        return steps

    def can_take(self, known: int, place: int) -> bool:
        return bool(((self.spot == place) & (self.knowledge.states[known] > 0)).any())


def name_things(scene: WalkScene, want: Named) -> str:
    """What is worth the most to somebody."""
    best = max(want.numbers)
    return " = ".join(
        thing for thing, worth in zip(scene.things, want.numbers, strict=True) if worth == best
    )


def describe_walk(scene: WalkScene) -> Mapping[str, int]:
    """How many there are of what."""
    return {
        "places": len(scene.places), "floor": int(scene.floor.sum()),
        "knowledge": len(scene.knowledge.states), "wants": len(scene.wants),
        "beliefs": len(scene.beliefs), "rationality": len(scene.rationality),
    }  # fmt: skip
