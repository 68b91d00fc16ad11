"""What a game of two players with perfect information is: rules over many positions at a time.

A position is a row of W whole numbers, so that a search can hold thousands of them in one array,
copy them and go back to any: nothing else is remembered. Players are 0, who begins, and 1; where
the dice have to fall the turn is CHANCE and an "action" is the outcome's number. A value is what
player 0 gets: 1 a win, 0 a draw, −1 a loss.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError

Positions = NDArray[np.int64]  # [N, W]
Bools = NDArray[np.bool_]
Numbers = NDArray[Any]

CHANCE = 2
SIGNS = np.array([1.0, -1.0, 0.0])  # of player 0's value, as the one whose turn it is sees it


class Game(Protocol):
    """The rules. Nobody changes a position in place."""

    name: str
    actions: int  # A; what is no move here and now is not legal
    outcomes: int  # K, the most that a chance has; 0 where there is none
    board: tuple[int, int]  # rows, columns
    planes: int  # C, of what a network sees
    longest: int  # moves and throws of the longest game
    # The symmetries of the board, the identity first: after one, cell c shows what cell
    # `cells[g, c]` showed, and move a does what `moves[g, a]` did. [G, rows · columns], [G, A]
    cells: NDArray[np.intp]
    moves: NDArray[np.intp]

    def begin(self, n: int) -> Positions:
        """n times the first position.  -> [n, W]"""
        ...

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        """Whose turn it is: 0, 1 or CHANCE.  [N, W] -> [N]"""
        ...

    def legal(self, positions: Positions) -> Bools:
        """What may be done; no row has none before the end, but for chance.  [N, W] -> [N, A]"""
        ...

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        """How likely each outcome is, where it is chance's turn.  [N, W] -> [N, K]"""
        ...

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        """After legal actions, or outcomes; not checked.  [N, W], [N] -> [N, W]"""
        ...

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        """Whether it is over, and what player 0 got (0 before).  [N, W] -> [N], [N]"""
        ...

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        """As the player whose turn it is sees it, his own first.  [N, W] -> [N, C, rows,
        columns]
        """
        ...

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        """After one of the symmetries.  [N, W] -> [N, W]"""
        ...

    def list_cells(self, position: Numbers) -> list[str]:
        """What stands in each cell, row by row, "" for nothing.  [W] -> rows · columns"""
        ...

    def name_move(self, action: int) -> str: ...

    def cell_of(self, action: int) -> int | None:
        """Where a move is shown on the board, None for one without a place."""
        ...


@runtime_checkable
class SeesWins(Protocol):
    """A game that says quickly which moves win at once."""

    def winning(self, positions: Positions) -> Bools:
        """Legal moves after which the player who made them has won.  [N, W] -> [N, A]"""
        ...


def mover_sign(turn: Numbers) -> NDArray[np.float64]:
    """1 where player 0 moves, −1 for player 1, 0 for chance.  [N] -> [N]"""
    return SIGNS[turn]


def read_move(game: Game, position: Numbers, text: str) -> int:
    """The legal action that a person named. Raises UserError for what is no move, or not legal."""
    named = {game.name_move(a): a for a in range(game.actions)}
    open_now = [a for a in range(game.actions) if game.legal(position[None])[0, a]]
    said = ", ".join(game.name_move(a) for a in open_now)
    action = named.get(text.strip().lower())
    if action is None:
        raise UserError(f"{text.strip()!r} is no move of {game.name}: give one of {said}.")
    if action not in open_now:
        raise UserError(f"{text.strip()} is not legal here: give one of {said}.")
    return action


def check_moves(game: Game, positions: Positions, action: NDArray[np.intp]) -> None:
    """Raises UserError for a move that is not legal where it is given.  [N, W], [N]"""
    legal = game.legal(positions)
    action = np.asarray(action)
    if action.shape != (len(positions),) or action.dtype.kind not in "iu":
        raise UserError(
            f"moves {action.dtype} {action.shape} were given for {len(positions)} positions of "
            f"{game.name}: give a whole number for each."
        )
    inside = (action >= 0) & (action < game.actions)
    fine = inside & legal[np.arange(len(legal)), np.where(inside, action, 0)]
    if not fine.all():
        i = int(np.flatnonzero(~fine)[0])
        said = ", ".join(map(str, np.flatnonzero(legal[i])))
        raise UserError(
            f"move {int(action[i])} is not legal in a position of {game.name}: give one of {said}."
        )
