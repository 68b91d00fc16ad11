"""Connect four: stones fall into columns, four in a row win; 7 × 6, or smaller.

A column is height + 1 bits, the lowest its bottom, so that no line runs over an edge (Tromp's
layout; https://tromp.github.io/c4/c4.html).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.worlds.games.boards import (
    FIRST,
    MIRROR,
    SECOND,
    TURN,
    begin_empty,
    list_stones,
    list_symmetries,
    see_stones,
    turn_stones,
)
from fledge.worlds.games.game import Bools, Numbers, Positions

BITS = 62  # that a position may take


def complete_lines(stones: Any, height: int) -> Any:
    """Where one more stone would make four in a row; also where there is no square, or one is
    taken (Pons 2015, http://blog.gamesolver.org). height: bits of a column.  int -> int, or [N] ->
    [N]
    """
    lines = (stones << 1) & (stones << 2) & (stones << 3)
    for step in (height, height - 1, height + 1):
        pair = (stones << step) & (stones << 2 * step)
        lines |= pair & ((stones << 3 * step) | (stones >> step))
        pair = (stones >> step) & (stones >> 2 * step)
        lines |= pair & ((stones << step) | (stones >> 3 * step))
    return lines


class ConnectFour:
    """A move is its column, from the left; cells are numbered row by row from above."""

    outcomes, planes = 0, 2

    def __init__(self, columns: int = 7, rows: int = 6) -> None:
        """Raises UserError for a board that no line fits on, or that is too large for a word."""
        if max(columns, rows) < 4 or min(columns, rows) < 1 or columns * (rows + 1) > BITS:
            raise UserError(
                f"connect4:{columns}x{rows} was given: columns or rows must be 4 or more, and "
                f"columns × (rows + 1) at most {BITS}, as of connect4:5x4."
            )
        usual = (columns, rows) == (7, 6)
        self.name = "connect4" if usual else f"connect4:{columns}x{rows}"
        self.board, self.actions = (rows, columns), columns
        self.longest = rows * columns
        self.cells = list_symmetries(self.board, MIRROR)
        self.moves = np.stack([np.arange(columns), np.arange(columns)[::-1]])
        self.height = rows + 1  # bits of a column
        self.bit = np.array(
            [c * self.height + rows - 1 - r for r in range(rows) for c in range(columns)]
        )
        self.top = np.int64(1) << (np.arange(columns, dtype=np.int64) * self.height + rows - 1)
        self.bottom = np.int64(1) << (np.arange(columns, dtype=np.int64) * self.height)
        self.column = self.bottom * ((1 << rows) - 1)
        self.full = np.int64(self.column.sum())

    def begin(self, n: int) -> Positions:
        return begin_empty(n)

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        return positions[:, TURN].astype(np.int8)

    def legal(self, positions: Positions) -> Bools:
        taken = positions[:, FIRST] | positions[:, SECOND]
        return (taken[:, None] & self.top) == 0

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        return np.zeros((len(positions), 0))

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        after = positions.copy()
        taken = positions[:, FIRST] | positions[:, SECOND]
        # One more at the bottom carries up to the first free bit of the column.
        stone = (taken + self.bottom[action]) & ~taken & self.column[action]
        after[np.arange(len(after)), positions[:, TURN]] |= stone
        after[:, TURN] = 1 - positions[:, TURN]
        return after

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        won = self.has_line(positions[:, :2])
        full = (positions[:, FIRST] | positions[:, SECOND]) == self.full
        return won[:, 0] | won[:, 1] | full, won[:, 0].astype(np.float64) - won[:, 1]

    def winning(self, positions: Positions) -> Bools:
        """The columns whose stone makes four in a row at once.  [N, 3] -> [N, A]"""
        taken = positions[:, FIRST] | positions[:, SECOND]
        own = positions[np.arange(len(positions)), positions[:, TURN]]
        free = (taken + self.bottom.sum()) & self.full & complete_lines(own, self.height)
        return (free[:, None] & self.column) != 0

    def has_line(self, stones: NDArray[np.int64]) -> Bools:
        """Four in a row, in any of four directions."""
        won = np.zeros(stones.shape, dtype=np.int64)
        for step in (1, self.height - 1, self.height, self.height + 1):
            pairs = stones & (stones >> step)
            won |= pairs & (pairs >> 2 * step)
        return won != 0

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        return see_stones(positions, self.bit, self.board)

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        return turn_stones(positions, self.bit, self.cells[symmetry])

    def list_cells(self, position: Numbers) -> list[str]:
        return list_stones(position, self.bit)

    def name_move(self, action: int) -> str:
        return str(action + 1)

    def cell_of(self, action: int) -> int | None:
        return action  # the top of its column
