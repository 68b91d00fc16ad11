"""A race of two counters by dice, the smallest game with chance in it: walk two steps, or throw and
run as far as the die says.

Who first stands on the last field, or would be beyond it, has won. The die shows 0, 1, 3 or 6, so
that running is further on average than walking, and less sure; no game is longer than its fields
allow, for after ZEROS zeros in a row a die shows no more of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import CHANCE, Bools, Numbers, Positions

FACES = np.array([0, 1, 3, 6])
FIELDS = 12  # the last one's number
WALK, THROW = 0, 1
STEPS = 2  # of a walk
# A position: where player 0 stands, where player 1, who moved or moves, whether the die falls, and
# how many zeros in a row it has shown to each.
HERE, THROWN, ZEROS_OF = 2, 3, 4
ZEROS = 2
CHANCES = np.array([[0.3, 0.2, 0.2, 0.3], [0.0, 0.3, 0.3, 0.4]])


class DiceRace:
    """Moves are walk and throw; the board is the track of each player."""

    name = "dice"
    actions, outcomes, board, planes = 2, len(FACES), (2, FIELDS + 1), 2
    longest = 2 * 2 * (ZEROS + 1) * FIELDS
    cells = np.arange(2 * (FIELDS + 1))[None]
    moves = np.arange(2)[None]

    def begin(self, n: int) -> Positions:
        return np.zeros((n, 6), dtype=np.int64)

    def turn(self, positions: Positions) -> NDArray[np.int8]:
        return np.where(positions[:, THROWN] == 1, CHANCE, positions[:, HERE]).astype(np.int8)

    def legal(self, positions: Positions) -> Bools:
        waits = (positions[:, THROWN] == 0) & ~self.outcome(positions)[0]
        return np.repeat(waits[:, None], 2, 1)

    def chance(self, positions: Positions) -> NDArray[np.float64]:
        rows = np.arange(len(positions))
        zeros = positions[rows, ZEROS_OF + positions[:, HERE]]
        return CHANCES[(zeros >= ZEROS).astype(int)]

    def apply(self, positions: Positions, action: NDArray[np.intp]) -> Positions:
        after, rows, here = positions.copy(), np.arange(len(positions)), positions[:, HERE]
        falls = positions[:, THROWN] == 1
        asks = ~falls & (action == THROW)
        face = FACES[np.where(falls, action, 0)]
        far = positions[rows, here] + np.where(falls, face, STEPS)
        after[rows, here] = np.where(asks, positions[rows, here], np.minimum(far, FIELDS))
        nothing = falls & (face == 0)
        zeros = positions[rows, ZEROS_OF + here]
        after[rows, ZEROS_OF + here] = np.where(asks, zeros, np.where(nothing, zeros + 1, 0))
        after[:, THROWN] = asks
        after[:, HERE] = np.where(asks, here, 1 - here)
        return after

    def outcome(self, positions: Positions) -> tuple[Bools, NDArray[np.float64]]:
        won = positions[:, :2] == FIELDS
        return won.any(1), won[:, 0].astype(np.float64) - won[:, 1]

    def observe(self, positions: Positions) -> NDArray[np.float32]:
        """The counters on their tracks; −1 behind a counter that the die owes more than zero."""
        seen = np.zeros((len(positions), 2, *self.board), dtype=np.float32)
        rows, here = np.arange(len(positions)), positions[:, HERE]
        for place, player in enumerate((here, 1 - here)):
            seen[rows, place, 0, positions[rows, player]] = 1
            seen[rows, place, 1, positions[rows, ZEROS_OF + player]] = 1
        return seen

    def turn_board(self, positions: Positions, symmetry: int) -> Positions:
        return positions.copy()

    def list_cells(self, position: Numbers) -> list[str]:
        track = [[""] * (FIELDS + 1) for _ in range(2)]
        track[0][int(position[0])], track[1][int(position[1])] = "x", "o"
        return track[0] + track[1]

    def name_move(self, action: int) -> str:
        return ("walk", "throw")[action]

    def cell_of(self, action: int) -> int | None:
        return None
