"""A game of another library behind our rules: a position is what was done so far, as numbers, and
the other library plays it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import Bools, Numbers, Positions

KEPT = 20_000  # states of the other library that are remembered, so that a move is one step
NOTHING = -1  # where nothing was done yet


class Replayed:
    """A subclass has `start`, `play` and what a state says: `mover` (0, 1, CHANCE), `moves`,
    `chances`, `result` (None before the end), `picture` [C, rows, columns] and `text`.

    W is the longest game; no symmetry but the identity is known of another's board.
    """

    name: str
    actions: int
    outcomes: int
    board: tuple[int, int]
    planes: int
    longest: int
    cells: NDArray[np.intp]
    moves: NDArray[np.intp]

    def lay_out(self, shape: Sequence[int]) -> None:
        """The board out of the shape of what is seen: [C, rows, columns], or anything flatter."""
        full = (1,) * (3 - len(shape)) + tuple(shape)
        # whose turn it is stands in a plane of its own: another's picture need not say
        self.planes, self.board = full[0] + 1, (full[1], full[2])
        self.cells = np.arange(full[1] * full[2], dtype=np.intp)[None]
        self.moves = np.arange(self.actions, dtype=np.intp)[None]
        self._states: dict[bytes, Any] = {}

    def start(self) -> Any: ...
    def play(self, history: Sequence[int], state: Any, action: int) -> Any:
        """The state after one of a known one, which stays as it is."""

    def mover(self, state: Any) -> int: ...
    def list_moves(self, state: Any) -> Sequence[int]: ...
    def list_chances(self, state: Any) -> Sequence[tuple[int, float]]: ...
    def result(self, state: Any) -> float | None: ...
    def picture(self, state: Any) -> Numbers: ...
    def text(self, state: Any) -> str: ...

    def state_of(self, position: Numbers) -> Any:
        """The other library's state, played out from the nearest one that is remembered."""
        key = position.tobytes()
        if key in self._states:
            return self._states[key]
        done = [int(action) for action in position if action != NOTHING]
        if done:
            before = position.copy()
            before[len(done) - 1] = NOTHING
            state = self.play(done[:-1], self.state_of(before), done[-1])
        else:
            state = self.start()
        if len(self._states) >= KEPT:
            self._states.pop(next(iter(self._states)))
        self._states[key] = state
        return state

    def begin(self, n: int) -> Positions:
        return np.full((n, self.longest), NOTHING, np.int64)

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        return np.array([self.mover(self.state_of(one)) for one in positions], np.int8)

    def legal(self, positions: Positions) -> Bools:
        legal = np.zeros((len(positions), self.actions), bool)
        for row, one in zip(legal, positions, strict=True):
            row[list(self.list_moves(self.state_of(one)))] = True
        return legal

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        chance = np.zeros((len(positions), self.outcomes))
        for row, one in zip(chance, positions, strict=True):
            for outcome, probability in self.list_chances(self.state_of(one)):
                row[outcome] = probability
        return chance

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        after = positions.copy()
        after[np.arange(len(after)), (positions != NOTHING).sum(1)] = action
        return after

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        results = [self.result(self.state_of(one)) for one in positions]
        over = np.array([result is not None for result in results], bool)
        return over, np.array([result or 0.0 for result in results])

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        seen = np.zeros((len(positions), self.planes, *self.board), np.float32)
        for row, one in zip(seen, positions, strict=True):
            state = self.state_of(one)
            row[:-1] = np.asarray(self.picture(state)).reshape(self.planes - 1, *self.board)
            row[-1] = self.mover(state) == 1
        return seen

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        return positions

    def list_cells(self, position: Numbers) -> list[str]:
        """Out of the other library's own text, where that is a board; else nothing."""
        rows, columns = self.board
        lines = self.text(self.state_of(position)).splitlines()[:rows]
        if len(lines) == rows and all(len(line) == columns for line in lines):
            return ["" if cell in ".-_ " else cell for line in lines for cell in line]
        return [""] * (rows * columns)

    def name_move(self, action: int) -> str:
        return str(action)

    def cell_of(self, action: int) -> int | None:
        return action if self.actions == self.board[0] * self.board[1] else None
