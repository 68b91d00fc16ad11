"""Stones on a board as the bits of a number, and the symmetries of a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import Positions

Bits = NDArray[np.int64]
ONE = np.int64(1)
# A position of a board game: the stones of player 0, those of player 1, and whose turn it is.
FIRST, SECOND, TURN = 0, 1, 2


def unpack(stones: Bits, bit: Bits) -> Bits:
    """Whether there is a stone in each cell, whose bit is given.  [N], [cells] -> [N, cells]"""
    return (stones[:, None] >> bit) & ONE


def pack(filled: Bits, bit: Bits) -> Bits:
    """The other way.  [N, cells], [cells] -> [N]"""
    return (filled << bit).sum(1)


def begin_empty(n: int) -> Positions:
    return np.zeros((n, 3), dtype=np.int64)


def see_stones(positions: Positions, bit: Bits, board: tuple[int, int]) -> NDArray[np.float32]:
    """Own stones, and the other's, as the player whose turn it is sees them.  [N, 3] -> [N, 2,
    rows, columns]
    """
    turn = positions[:, TURN]
    rows = np.arange(len(positions))
    both = np.stack([positions[rows, turn], positions[rows, 1 - turn]], 1).reshape(-1)
    return unpack(both, bit).astype(np.float32).reshape(-1, 2, *board)


def turn_stones(positions: Positions, bit: Bits, cells: NDArray[np.intp]) -> Positions:
    """After a symmetry of the cells.  [N, 3] -> [N, 3]"""
    turned = positions.copy()
    for player in (FIRST, SECOND):
        turned[:, player] = pack(unpack(positions[:, player], bit)[:, cells], bit)
    return turned


def list_stones(position: Bits, bit: Bits) -> list[str]:
    """x for player 0, o for player 1.  [3] -> cells"""
    first, second = (unpack(position[player : player + 1], bit)[0] for player in (FIRST, SECOND))
    return ["x" if a else "o" if b else "" for a, b in zip(first, second, strict=True)]


Turning = Callable[[NDArray[np.intp]], NDArray[np.intp]]
MIRROR: Sequence[Turning] = (lambda grid: grid, np.fliplr)
# All eight of a square.
SQUARE: Sequence[Turning] = tuple(
    (lambda grid, k=k, mirrored=mirrored: np.rot90(np.fliplr(grid) if mirrored else grid, k))
    for mirrored in (False, True)
    for k in range(4)
)


def list_symmetries(board: tuple[int, int], turnings: Sequence[Turning]) -> NDArray[np.intp]:
    """Where the content of each cell comes from.  -> [G, rows · columns]"""
    grid = np.arange(board[0] * board[1]).reshape(board)
    return np.stack([turn(grid).reshape(-1) for turn in turnings])


def name_cell(cell: int, board: tuple[int, int]) -> str:
    """A letter for the column, a number for the row from below: a1 is the lower left."""
    row, column = divmod(cell, board[1])
    return f"{chr(ord('a') + column)}{board[0] - row}"
