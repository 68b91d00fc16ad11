"""Minimax over every position that can be reached, chance nodes by expectation: the exact value of
a small game (von Neumann 1928; with chance: Michie 1966).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.worlds.games.game import CHANCE, Game, Numbers

MOST = 3_000_000  # positions that are kept


@dataclass(frozen=True)
class Solved:
    """The value of each position for player 0, and the edges it comes from."""

    game: Game
    positions: Numbers  # [P, W], each once
    value: NDArray[np.float64]  # [P]
    number: dict[bytes, int]

    def value_of(self, positions: Numbers) -> NDArray[np.float64]:
        """[N, W] -> [N]. Raises KeyError for what cannot be reached."""
        rows = np.ascontiguousarray(positions)
        return self.value[[self.number[row.tobytes()] for row in rows]]

    def action_values(self, positions: Numbers) -> NDArray[np.float64]:
        """What each legal action brings the player whose turn it is, NaN for others.  [N, W] -> [N,
        A]
        """
        legal = self.game.legal(positions)
        row, action = legal.nonzero()
        worth = self.value_of(self.game.apply(positions[row], action))
        values = np.full(legal.shape, np.nan)
        values[row, action] = np.where(self.game.turn(positions)[row] == 1, -worth, worth)
        return values


def solve_game(game: Game, roots: Numbers | None = None, most: int = MOST) -> Solved:
    """All that can be reached from the first position, or from others.

    Every position is found once and backed up until nothing changes: no game comes back to where it
    was, so that is after as many sweeps as moves, and the only fixed point. Raises UserError where
    there are more than `most` positions.
    """
    layer = np.unique(game.begin(1) if roots is None else roots, axis=0)
    number = {row.tobytes(): i for i, row in enumerate(layer)}
    layers, edges = [], []
    while len(layer):
        if len(number) > most:
            raise UserError(
                f"{game.name} has more than {most:,} positions from here: minimax keeps them all. "
                "Give a search (against=uct), or a position nearer to the end."
            )
        row, edge, weight = list_edges(game, layer)
        after, place = np.unique(game.apply(layer[row], edge), axis=0, return_inverse=True)
        known = len(number)
        numbers = np.array([number.setdefault(each.tobytes(), len(number)) for each in after])
        first = number[layer[0].tobytes()]
        edges.append((row + first, numbers[place.reshape(-1)] if len(row) else row, weight))
        layers.append(layer)
        layer = after[numbers >= known] if len(row) else after[:0]
    positions = np.concatenate(layers)
    value = back_up(game, positions, *map(np.concatenate, zip(*edges, strict=True)))
    return Solved(game, positions, value, number)


def list_edges(game: Game, positions: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """What may follow: from which row, by which action or outcome, how likely (1 for an action)."""
    over, _ = game.outcome(positions)
    possible = game.legal(positions) & ~over[:, None]
    if not game.outcomes:
        row, edge = possible.nonzero()
        return row, edge, np.ones(len(row))
    falls = (game.turn(positions) == CHANCE) & ~over
    chances = np.where(falls[:, None], game.chance(positions), 0.0)
    row, edge = possible.nonzero()
    thrown, face = chances.nonzero()
    rows, weight = np.concatenate([row, thrown]), np.ones(len(row))
    return rows, np.concatenate([edge, face]), np.concatenate([weight, chances[thrown, face]])


def back_up(
    game: Game, positions: Numbers, row: Numbers, after: Numbers, weight: Numbers
) -> NDArray[np.float64]:
    """The value of each position for player 0, by edges from `row` to `after`.  [P, W] -> [P]"""
    over, result = game.outcome(positions)
    turn, value = game.turn(positions), np.where(over, result, 0.0)
    while True:
        best, least, mean = (np.full(len(value), x) for x in (-np.inf, np.inf, 0.0))
        np.maximum.at(best, row, value[after])
        np.minimum.at(least, row, value[after])
        np.add.at(mean, row, weight * value[after])
        new = np.where(over, result, np.choose(turn, [best, least, mean]))
        if np.array_equal(new, value):
            return value
        value = new
