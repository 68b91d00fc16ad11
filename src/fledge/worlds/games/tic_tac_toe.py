"""Tic-tac-toe: three in a row on a board of 3 × 3; 5,478 positions, a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.boards import (
    FIRST,
    ONE,
    SECOND,
    SQUARE,
    TURN,
    begin_empty,
    list_stones,
    list_symmetries,
    name_cell,
    see_stones,
    turn_stones,
    unpack,
)
from fledge.worlds.games.game import Bools, Numbers, Positions

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
FULL = 0b111111111


class TicTacToe:
    """Cell c, row by row from above, is bit c; a move is its cell."""

    name = "tictactoe"
    actions, outcomes, board, planes, longest = 9, 0, (3, 3), 2, 9
    cells = moves = list_symmetries(board, SQUARE)
    bit = np.arange(9, dtype=np.int64)
    lines = np.array([sum(1 << cell for cell in line) for line in LINES], dtype=np.int64)

    def begin(self, n: int) -> Positions:
        return begin_empty(n)

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        return positions[:, TURN].astype(np.int8)

    def legal(self, positions: Positions) -> Bools:
        return unpack(positions[:, FIRST] | positions[:, SECOND], self.bit) == 0

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        return np.zeros((len(positions), 0))

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        after = positions.copy()
        after[np.arange(len(after)), positions[:, TURN]] |= ONE << action
        after[:, TURN] = 1 - positions[:, TURN]
        return after

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        first, second = (self.has_line(positions[:, player]) for player in (FIRST, SECOND))
        full = (positions[:, FIRST] | positions[:, SECOND]) == FULL
        return first | second | full, first.astype(np.float64) - second

    def winning(self, positions: Positions) -> Bools:
        """The cells that make three in a row at once.  [N, 3] -> [N, A]"""
        own = positions[np.arange(len(positions)), positions[:, TURN], None] | (ONE << self.bit)
        return self.has_line(own.reshape(-1)).reshape(own.shape) & self.legal(positions)

    def has_line(self, stones: NDArray[np.int64]) -> Bools:
        return ((stones[:, None] & self.lines) == self.lines).any(1)

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        return see_stones(positions, self.bit, self.board)

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        return turn_stones(positions, self.bit, self.cells[symmetry])

    def list_cells(self, position: Numbers) -> list[str]:
        return list_stones(position, self.bit)

    def name_move(self, action: int) -> str:
        return name_cell(action, self.board)

    def cell_of(self, action: int) -> int | None:
        return action
