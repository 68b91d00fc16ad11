"""Solves connect four by alpha–beta on bitboards: win, draw or loss, exactly, at once where some
14 squares are empty.

After Pons 2015 (http://blog.gamesolver.org): threats decide before anything is searched, moves that
make more threats come first, and positions that were seen are kept.
"""

from __future__ import annotations

from fledge.worlds.games.boards import FIRST, SECOND, TURN
from fledge.worlds.games.connect_four import ConnectFour, complete_lines
from fledge.worlds.games.game import Numbers

MOST = 4_000_000  # positions that are kept; then it begins anew


class ConnectFourSolver:
    """What was seen is kept from one position to the next."""

    def __init__(self, game: ConnectFour | None = None) -> None:
        game = game or ConnectFour()
        self.height, self.columns = game.height, game.actions
        self.board, self.bottom = int(game.full), int(game.bottom.sum())
        self.column = [int(column) for column in game.column]
        middle = (self.columns - 1) / 2
        self.order = sorted(range(self.columns), key=lambda column: abs(column - middle))
        # For the player whose turn it is, a value and whether it is exact, or the most it can be,
        # or the least (0, 1, −1).
        self.seen: dict[int, tuple[int, int]] = {}
        self.nodes = 0

    def action_values(self, position: Numbers) -> list[int | None]:
        """1 a win, 0 a draw, −1 a loss for the player whose turn it is, by each column; None where
        it is full.  [3] -> [columns]
        """
        own, other = self.sides(position)
        taken = own | other
        wins = self.threats(own, taken) & self.playable(taken)
        values: list[int | None] = []
        for column in self.column:
            stone = self.playable(taken) & column
            if not stone:
                values.append(None)
            elif stone & wins:
                values.append(1)
            elif taken | stone == self.board:
                values.append(0)
            else:
                values.append(-self.solve(other, own | stone, -1, 1))
        return values

    def value(self, position: Numbers) -> int:
        """Of a position that is not over, for the player whose turn it is.  [3] -> −1, 0 or 1"""
        return self.solve(*self.sides(position), -1, 1)

    def sides(self, position: Numbers) -> tuple[int, int]:
        first, second = int(position[FIRST]), int(position[SECOND])
        return (first, second) if position[TURN] == 0 else (second, first)

    def playable(self, taken: int) -> int:
        """The lowest free square of each column."""
        return (taken + self.bottom) & self.board

    def threats(self, stones: int, taken: int) -> int:
        """The free squares that would make four in a row."""
        free = complete_lines(stones, self.height)
        return free & self.board & ~taken

    def solve(self, own: int, other: int, low: int, high: int) -> int:
        """The value for `own`, whose turn it is; a bound where it is not within low…high."""
        taken = own | other
        if taken == self.board:
            return 0
        playable = self.playable(taken)
        if self.threats(own, taken) & playable:
            return 1
        threats = self.threats(other, taken)
        forced = threats & playable
        if forced:
            if forced & (forced - 1):
                return -1  # two at once
            playable = forced
        # Never below a square where the other would win next.
        playable &= ~(threats >> 1)
        if not playable:
            return -1
        key = own + taken + self.bottom  # one number for each position
        known = self.seen.get(key)
        if known is not None:
            value, kind = known
            if kind == 0 or (kind > 0 and value <= low) or (kind < 0 and value >= high):
                return value
        self.nodes += 1
        if len(self.seen) >= MOST:
            self.seen.clear()
        best, floor = -1, low
        for stone in self.order_moves(own, taken, playable):
            value = -self.solve(other, own | stone, -high, -floor)
            if value > best:
                best = value
            if best >= high:
                break
            floor = max(floor, best)
        kind = -1 if best >= high and best < 1 else 1 if best <= low and best > -1 else 0
        self.seen[key] = best, kind
        return best

    def order_moves(self, own: int, taken: int, playable: int) -> list[int]:
        """Stones, those that make most threats first, and of as many those in the middle."""
        stones = [playable & self.column[c] for c in self.order if playable & self.column[c]]
        if len(stones) == 1:
            return stones
        return sorted(
            stones, key=lambda stone: -self.threats(own | stone, taken | stone).bit_count()
        )
