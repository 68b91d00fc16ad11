"""Worlds of a few places, small enough to be worked out by hand: ten steps round a circle, a road
with a ditch beside it, a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.worlds.world import Choices, Space, Step


class Counted:
    """What the worlds below share: places, a clock for each copy that runs out after `steps`, and a
    new beginning after an end.
    """

    name: str = "counted"
    restorable = True
    action: Space = Choices((2,))
    observation: Space
    copies: int

    def __init__(self, places: int, copies: int, steps: int, *, ends: bool, start: int = 0) -> None:
        """ends: whether the world terminates when the clock has run out; if not it is only cut
        there.
        """
        self.observation, self.copies, self.steps, self.ends = (
            Choices((places,)),
            copies,
            steps,
            ends,
        )
        self.start = torch.full((copies,), start)
        self.reset(0)

    def reset(self, seed: int) -> Tensor:
        self.place, self.clock = self.start.clone(), torch.zeros_like(self.start)
        return self.place.clone()

    def go(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """-> the place after, the reward; [n], [n]"""
        raise NotImplementedError

    def step(self, action: Tensor) -> Step:
        over = self.clock == self.steps
        place, reward = self.go(action)
        self.place = torch.where(over, self.start, place)
        self.clock = torch.where(over, 0, self.clock + 1)
        late, no = self.clock == self.steps, torch.zeros(self.copies, dtype=torch.bool)
        ended = (late, no) if self.ends else (no, late)
        return Step(self.place.clone(), torch.where(over, 0.0, reward), *ended)

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "clock": self.clock}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.place, self.clock = state["place"].clone(), state["clock"].clone()
        return self.place.clone()

    def close(self) -> None:
        pass


class Circle(Counted):
    """Ten places in a circle, one further a step, each step worth 1 whatever is done. It ends, or
    is cut, after one round.
    """

    def __init__(self, copies: int, *, ends: bool) -> None:
        super().__init__(10, copies, 10, ends=ends)

    def go(self, action: Tensor) -> tuple[Tensor, Tensor]:
        return (self.place + 1) % 10, torch.ones(self.copies)


class Road(Counted):
    """On the road (place 0) action 0 stays on it; in the ditch (place 1) action 1 climbs out.
    Anything else is the ditch, and costs 1.
    """

    def __init__(self, copies: int, steps: int) -> None:
        super().__init__(2, copies, steps, ends=False)

    def go(self, action: Tensor) -> tuple[Tensor, Tensor]:
        off = (action != self.place).long()
        return off, -off.float()


class Line(Counted):
    """Seven places in a row. Actions 0, 1, 2 go back, stay, and go on; three steps from the middle,
    worth nothing.
    """

    action: Space = Choices((3,))

    def __init__(self, copies: int) -> None:
        super().__init__(7, copies, 3, ends=False, start=3)

    def go(self, action: Tensor) -> tuple[Tensor, Tensor]:
        return (self.place + action - 1).clamp(0, 6), torch.zeros(self.copies)
