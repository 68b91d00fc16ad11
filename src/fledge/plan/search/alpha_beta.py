"""Alpha–beta to a depth, for any game of ours (Knuth & Moore 1975), with the positions of a search
remembered and expectation at chance nodes, which cut nothing.

All moves of a position are tried in one call of the rules; those that end the game come first,
then those near the middle of the board.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import CHANCE, Game, Numbers, mover_sign

EXACT, AT_LEAST, AT_MOST = 0, 1, 2


class AlphaBeta:
    """depth: moves that it looks ahead; None to the end. Beyond the depth everything is a draw."""

    def __init__(self, game: Game, depth: int | None = None) -> None:
        self.game, self.depth = game, game.longest if depth is None else depth
        self.seen: dict[tuple[bytes, int], tuple[int, float]] = {}
        rows, columns = game.board

        def far(action: int) -> float:
            cell = game.cell_of(action)
            if cell is None:
                return np.inf
            row, column = divmod(cell, columns)
            return abs(row - (rows - 1) / 2) + abs(column - (columns - 1) / 2)

        self.order = np.array(sorted(range(game.actions), key=far))
        self.nodes = 0

    def action_values(self, position: Numbers) -> NDArray[np.float64]:
        """What each legal action brings the player whose turn it is, NaN for others.  [W] -> [A]"""
        game, values = self.game, np.full(self.game.actions, np.nan)
        sign = float(mover_sign(game.turn(position[None]))[0])
        self.seen.clear()
        for action in np.flatnonzero(game.legal(position[None])[0]):
            after = game.apply(position[None], np.array([action]))
            values[action] = sign * self.value(after, self.depth - 1)
        return values

    def value(self, position: Numbers, depth: int, low: float = -1.0, high: float = 1.0) -> float:
        """For player 0; a bound where it is not within low…high.  [1, W] -> number"""
        over, worth = self.game.outcome(position)
        return float(worth[0]) if over[0] else self.open_value(position, depth, low, high)

    def open_value(self, position: Numbers, depth: int, low: float, high: float) -> float:
        """Of a position that is no end."""
        if depth <= 0:
            return 0.0
        game, key = self.game, (position.tobytes(), depth)
        kind, known = self.seen.get(key, (None, 0.0))
        if (
            kind == EXACT
            or (kind == AT_LEAST and known >= high)
            or (kind == AT_MOST and known <= low)
        ):
            return known
        self.nodes += 1
        turn = int(game.turn(position)[0])
        if turn == CHANCE:
            chance = game.chance(position)[0]
            faces = np.flatnonzero(chance)
            after = game.apply(np.repeat(position, len(faces), 0), faces)
            each = [self.value(after[i : i + 1], depth - 1) for i in range(len(faces))]
            mean = float(chance[faces] @ np.array(each))
            self.seen[key] = EXACT, mean
            return mean
        legal = game.legal(position)[0]
        moves = self.order[legal[self.order]]
        after = game.apply(np.repeat(position, len(moves), 0), moves)
        over, worth = game.outcome(after)
        best, a, b = (-np.inf if turn == 0 else np.inf), low, high
        better = max if turn == 0 else min
        if over.any():
            best = float(worth[over].max() if turn == 0 else worth[over].min())
        for i in np.flatnonzero(~over):
            a, b = (max(a, best), b) if turn == 0 else (a, min(b, best))
            if a >= b:
                break
            best = better(best, self.open_value(after[i : i + 1], depth - 1, a, b))
        kind = AT_LEAST if best >= high else AT_MOST if best <= low else EXACT
        if (turn == 0 and best == 1) or (turn == 1 and best == -1):
            kind = EXACT  # nothing is more than a win
        self.seen[key] = kind, float(best)
        return float(best)
