"""Two players meet in many games side by side, from openings that each of them plays from both
sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import CHANCE, Game, Numbers, Positions, check_moves

NORMAL_95 = 1.96


class Player(Protocol):
    """Who moves in many positions at a time; none of them is an end, and in none chance has its
    turn.
    """

    def play(self, positions: Positions) -> NDArray[np.intp]:
        """[n, W] -> [n]"""
        ...


@dataclass(frozen=True)
class Match:
    """results: of the one player against the other, 1 a win; games 2i and 2i + 1 have one opening,
    and he begins in the first of them.
    """

    results: NDArray[np.float64]  # [games]

    @property
    def won(self) -> float:
        return float((self.results == 1).mean())

    @property
    def drawn(self) -> float:
        return float((self.results == 0).mean())

    @property
    def lost(self) -> float:
        return float((self.results == -1).mean())

    @property
    def score(self) -> float:
        """Points of a game, a draw being half."""
        return float(self.results.mean() / 2 + 0.5)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the score, 95 %: Wilson 1927, as if every point were a game's."""
        n, share = len(self.results), self.score
        spread = NORMAL_95**2 / n
        middle = (share + spread / 2) / (1 + spread)
        half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))


class Dice:
    """Draws outcomes and openings of one match."""

    def __init__(self, game: Game, seed: int) -> None:
        self.game, self.draw = game, np.random.Generator(np.random.PCG64(seed))

    def throw(self, positions: Positions) -> Positions:
        """Until it is a player's turn, or over."""
        game = self.game
        while game.outcomes:
            falls = (game.turn(positions) == CHANCE) & ~game.outcome(positions)[0]
            if not falls.any():
                break
            positions = positions.copy()
            positions[falls] = game.apply(
                positions[falls], self.pick(game.chance(positions[falls]))
            )
        return positions

    def pick(self, weight: Numbers) -> NDArray[np.intp]:
        """[n, E] -> [n]"""
        upto = weight.cumsum(1)
        return (upto > self.draw.random((len(upto), 1)) * upto[:, -1:]).argmax(1)

    def open_games(self, games: int, moves: int) -> Positions:
        """After so many moves at random; none is over."""
        positions = self.throw(self.game.begin(games))
        for _ in range(moves):
            before = positions
            for _ in range(100):  # where a game would be over another move is drawn
                after = self.game.apply(before, self.pick(self.game.legal(before)))
                over = self.game.outcome(after)[0]
                positions = np.where(over[:, None], positions, after)
                if not over.any():
                    break
            positions = self.throw(positions)
        return positions


def play_match(
    game: Game, one: Player, other: Player, games: int, seed: int, opening_moves: int = 2
) -> Match:
    """games: rounded up to a whole number of pairs. opening_moves: drawn at random, the same for
    both games of a pair. Raises UserError for a player's move that is not legal.
    """
    dice, pairs = Dice(game, seed), (games + 1) // 2
    positions = np.repeat(dice.open_games(pairs, opening_moves), 2, 0)
    # Whom `one` is: he moves where the turn is his.
    seat = (np.arange(2 * pairs) % 2 + game.turn(positions)) % 2
    results = np.zeros(2 * pairs)
    at = np.arange(2 * pairs)
    while True:
        over, value = game.outcome(positions)
        results[at[over]] = np.where(seat[at[over]] == 0, value[over], -value[over])
        at, positions = at[~over], positions[~over].copy()
        if not len(at):
            return Match(results)
        mine = game.turn(positions) == seat[at]
        for player, rows in ((one, mine), (other, ~mine)):
            if rows.any():
                moves = player.play(positions[rows])
                check_moves(game, positions[rows], moves)
                positions[rows] = game.apply(positions[rows], moves)
        positions = dice.throw(positions)
