"""Othello on 6 × 6: a stone turns all that it encloses; who has more in the end has won.

A player who can turn nothing passes, which is a move of its own; where nobody can, it is over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.boards import (
    FIRST,
    ONE,
    SECOND,
    SQUARE,
    TURN,
    Bits,
    list_stones,
    list_symmetries,
    name_cell,
    see_stones,
    turn_stones,
    unpack,
)
from fledge.worlds.games.game import Bools, Numbers, Positions

SIDE = 6
CELLS = SIDE * SIDE
FULL = np.int64((1 << CELLS) - 1)
PASS = CELLS
INNER = np.int64(sum(1 << c for c in range(CELLS) if 0 < c % SIDE < SIDE - 1))
# A step, and the cells that may be passed over by it: none at the edge that it would jump.
DIRECTIONS = (
    (1, INNER), (SIDE, FULL), (SIDE + 1, INNER), (SIDE - 1, INNER),
)  # fmt: skip


def shift(stones: Bits, step: int) -> Bits:
    return (stones << step) & FULL if step > 0 else stones >> -step


class Othello:
    """Cell c, row by row from above, is bit c; a move is its cell, or PASS."""

    name = "othello"
    actions, outcomes, board, planes = CELLS + 1, 0, (SIDE, SIDE), 2
    longest = 2 * (CELLS - 4)  # with a pass before each
    bit = np.arange(CELLS, dtype=np.int64)
    cells = list_symmetries((SIDE, SIDE), SQUARE)
    moves = np.concatenate([cells, np.full((len(cells), 1), PASS)], 1)

    def begin(self, n: int) -> Positions:
        # Black, who begins, has the upper right and the lower left of the middle.
        middle = SIDE // 2 - 1
        low, high = middle * SIDE + middle, (middle + 1) * SIDE + middle
        black, white = (1 << low + 1) | (1 << high), (1 << low) | (1 << high + 1)
        return np.tile(np.array([black, white, 0], dtype=np.int64), (n, 1))

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        return positions[:, TURN].astype(np.int8)

    def sides(self, positions: Positions) -> tuple[Bits, Bits]:
        """The stones of the player whose turn it is, and the other's.  [N, 3] -> [N], [N]"""
        rows, turn = np.arange(len(positions)), positions[:, TURN]
        return positions[rows, turn], positions[rows, 1 - turn]

    def find_moves(self, own: Bits, other: Bits) -> Bits:
        """The cells that a stone may be put on.  [N], [N] -> [N]"""
        moves = np.zeros_like(own)
        for step, mask in DIRECTIONS:
            passed = other & mask
            for way in (step, -step):
                run = shift(own, way) & passed
                for _ in range(SIDE - 3):
                    run |= shift(run, way) & passed
                moves |= shift(run, way)
        return moves & ~(own | other)

    def legal(self, positions: Positions) -> Bools:
        moves = self.find_moves(*self.sides(positions))
        return np.concatenate([unpack(moves, self.bit) == 1, (moves == 0)[:, None]], 1)

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        return np.zeros((len(positions), 0))

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        own, other = self.sides(positions)
        put = np.where(action == PASS, 0, ONE << np.minimum(action, CELLS - 1))
        turned = np.zeros_like(own)
        for step, mask in DIRECTIONS:
            passed = other & mask
            for way in (step, -step):
                run = shift(put, way) & passed
                for _ in range(SIDE - 3):
                    run |= shift(run, way) & passed
                turned |= np.where(shift(run, way) & own, run, 0)
        after, rows, turn = positions.copy(), np.arange(len(positions)), positions[:, TURN]
        after[rows, turn] = own | put | turned
        after[rows, 1 - turn] = other & ~turned
        after[:, TURN] = 1 - turn
        return after

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        first, second = positions[:, FIRST], positions[:, SECOND]
        over = (self.find_moves(first, second) | self.find_moves(second, first)) == 0
        more = unpack(first, self.bit).sum(1) - unpack(second, self.bit).sum(1)
        return over, np.where(over, np.sign(more), 0).astype(np.float64)

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        return see_stones(positions, self.bit, self.board)

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        return turn_stones(positions, self.bit, self.cells[symmetry])

    def list_cells(self, position: Numbers) -> list[str]:
        return list_stones(position, self.bit)

    def name_move(self, action: int) -> str:
        return "pass" if action == PASS else name_cell(action, self.board)

    def cell_of(self, action: int) -> int | None:
        return None if action == PASS else action
