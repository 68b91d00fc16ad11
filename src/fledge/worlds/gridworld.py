"""Gridworlds: a map drawn in text becomes a Markov decision process.

Moves slip: the classic world goes where it is told with probability 0.8 and to either side with
0.1, and stays where it is when it runs into a wall or the edge (Russell & Norvig 2010, section
17.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mdp import MDP

# neighbours in this list, the last beside the first, are at right angles
ACTIONS = (
    "up",
    "right",
    "down",
    "left",
)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # rows, columns
WALL, FLOOR, START = "#", ". ", "S"
SIGNS = {"+": 1.0, "-": -1.0} | {str(digit): float(digit) for digit in range(1, 10)}
CLASSIC = """\
...+
.#.-
S..."""


@dataclass(frozen=True)
class Gridworld:
    """A map of H rows and W columns. States are its floor, exits included, numbered in reading
    order.

    Every step pays `step_reward`, one into an exit that exit's worth besides, undiscounted; then it
    is over. Raises UserError for what is no map.
    """

    floor: Tensor  # [H, W] bool: not a wall
    exits: Tensor  # [H, W] bool
    worth: Tensor  # [H, W] float64: what entering pays, 0 where no exit is
    start: Tensor  # [H, W] bool: where episodes begin, evenly
    step_reward: float = -0.04
    slip: float = 0.2  # the chance of going to one of the two sides
    gamma: float = 1.0

    def __post_init__(self) -> None:
        tables = (self.floor, self.exits, self.start)
        if self.floor.ndim != 2 or any(
            x.dtype != torch.bool or x.shape != self.worth.shape for x in tables
        ):
            raise UserError(
                "floor, exits, worth and start are "
                f"{[tuple(x.shape) for x in (self.floor, self.exits, self.worth, self.start)]}: "
                "give [H, W] each, bool but for the worth."
            )
        object.__setattr__(self, "worth", self.worth.double())
        if not 0 <= self.slip <= 1:
            raise UserError(f"slip is {self.slip}: give a probability from 0 to 1.")
        if not 0 <= self.gamma <= 1:
            raise UserError(f"gamma is {self.gamma}: give a number from 0 to 1.")
        if not math.isfinite(self.step_reward) or not bool(self.worth.isfinite().all()):
            raise UserError(
                f"step_reward {self.step_reward} and the worth of every exit must be finite "
                "numbers."
            )
        if not bool((self.floor & ~self.exits).any()):
            raise UserError("the map has no floor to stand on: draw one with '.' or 'S'.")
        if not bool(self.start.any()):
            raise UserError("nothing starts anywhere: mark a place with 'S'.")
        if bool((self.start & (self.exits | ~self.floor)).any()) or bool(
            (self.exits & ~self.floor).any()
        ):
            raise UserError(
                "a start or an exit is in a wall, or a start in an exit: each wants floor of its "
                "own."
            )

    @property
    def number(self) -> Tensor:
        """The state of every place, −1 in walls.  -> [H, W]"""
        counted = self.floor.flatten().cumsum(0).view(self.floor.shape) - 1
        return torch.where(self.floor, counted, -1)

    def on_map(self, by_state: Tensor, blank: float) -> Tensor:
        """[S] -> [H, W], `blank` in walls."""
        return by_state.new_full(self.floor.shape, blank).masked_scatter(self.floor, by_state)

    def neighbours(self) -> Tensor:
        """The state that each move leads to when it does not slip.  -> [4, S]"""
        number = self.number
        edged = torch.full((number.shape[0] + 2, number.shape[1] + 2), -1)
        edged[1:-1, 1:-1] = number
        own = number[self.floor]
        H, W = number.shape
        there = [edged[1 + i : 1 + i + H, 1 + j : 1 + j + W][self.floor] for i, j in MOVES]
        return torch.stack([torch.where(x < 0, own, x) for x in there])

    def exit_is_reached(self) -> bool:
        """Whether moves lead from some start to some exit."""
        next_to, floor = self.neighbours(), self.floor
        seen = self.start[floor].clone()
        while True:
            further = seen.clone()
            further[next_to[:, seen].flatten()] = True
            if torch.equal(further, seen):
                return bool((seen & self.exits[floor]).any())
            seen = further

    def mdp(self) -> MDP:
        """The same as tables, sparse: three outcomes for each state and action."""
        next_to, ended = self.neighbours(), self.exits[self.floor]
        A, S = next_to.shape
        # [A, 3·S]: as meant, slipped to one side, to the other
        state = torch.arange(S).repeat(A, 3)
        action = torch.arange(A)[:, None].expand_as(state)
        after = torch.cat([next_to, next_to.roll(1, 0), next_to.roll(-1, 0)], 1)
        after = torch.where(ended[state], state, after)
        share = torch.tensor([1 - self.slip, self.slip / 2, self.slip / 2], dtype=torch.float64)
        chance = share.repeat_interleave(S).expand_as(state)
        possible = chance > 0
        place = torch.stack([x[possible] for x in (action, state, after)])
        shape = (A, S, S)
        transition = torch.sparse_coo_tensor(
            place, chance[possible], shape, check_invariants=True
        ).coalesce()
        _, left, entered = transition.indices()
        pay = torch.where(ended[left], 0.0, self.step_reward + self.worth[self.floor][entered])
        reward = torch.sparse_coo_tensor(transition.indices(), pay, shape, check_invariants=True)
        start = self.start[self.floor].double()
        return MDP(transition, reward, self.gamma, terminal=ended, start=start / start.sum())


def read_gridworld(
    text: str,
    *,
    step_reward: float = -0.04,
    slip: float = 0.2,
    gamma: float = 1.0,
    exits: Mapping[str, float] | None = None,
) -> Gridworld:
    """A map out of text: `#` wall, `.` or a space floor, `S` a start (everywhere on the floor if
    there is none), and exits.

    Exits: `+` pays 1, `-` pays −1, digits 1 to 9 pay themselves, and `exits` says what letters pay:
    {"G": 10, "T": -5}. Empty lines before and after the map do not count. Raises UserError, naming
    line and column, for anything else.
    """
    pays = SIGNS | dict(exits or {})
    for letter in pays:
        if len(letter) != 1 or letter in WALL + FLOOR + START:
            raise UserError(
                f"an exit is drawn {letter!r}: give it one character that is not one of '#', '.', "
                "' ' and 'S'."
            )
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)]
    while lines and not lines[0][1].strip():
        lines.pop(0)
    while lines and not lines[-1][1].strip():
        lines.pop()
    if not lines:
        raise UserError("the map is empty: draw one, such as\n" + CLASSIC)
    width = len(lines[0][1])
    for number, line in lines:
        for column, sign in enumerate(line, 1):
            if sign not in WALL + FLOOR + START and sign not in pays:
                raise UserError(
                    f"line {number}, column {column} of the map is {sign!r}: give '#' (wall), '.' "
                    f"or ' ' (floor), 'S' (start), or an exit: {' '.join(pays)}. What other "
                    "letters pay is said by `exits`."
                )
        if len(line) != width:
            raise UserError(
                f"line {number} of the map has {len(line)} columns, line {lines[0][0]} has "
                f"{width}: draw all lines equally long."
            )
    rows = [line for _, line in lines]
    exit_ = torch.tensor([[sign in pays for sign in row] for row in rows])
    worth = torch.tensor(
        [[pays.get(sign, 0.0) for sign in row] for row in rows], dtype=torch.float64
    )
    floor = torch.tensor([[sign != WALL for sign in row] for row in rows])
    start = torch.tensor([[sign == START for sign in row] for row in rows])
    if not bool(start.any()):
        start = floor & ~exit_
    return Gridworld(floor, exit_, worth, start, step_reward, slip, gamma)
