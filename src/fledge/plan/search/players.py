"""Who plays by looking ahead: a tree search, minimax to a depth, or anything at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.plan.search.alpha_beta import AlphaBeta
from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.plan.search.models import Evaluator, KnownModel, Rollouts
from fledge.plan.search.searching import Search, SearchSettings
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.game import Game, Numbers, Positions

# Squares of connect four that are left when it is solved in place of looked ahead; it takes some
# hundredths of a second then.
SOLVED_FROM = 18


@dataclass(frozen=True)
class Thoughts:
    """What a player thinks of one position, as the one whose turn it is: shares of the visits, or
    none; what each action brings, NaN where nothing is known; and the whole.
    """

    visits: Numbers | None  # [A]
    action_values: Numbers  # [A]
    value: float
    action: int


class SearchPlayer:
    """A search from each position anew."""

    def __init__(self, search: Search) -> None:
        self.search = search

    def play(self, positions: Positions) -> NDArray[np.intp]:
        return self.search.run(self.search.plant(positions)).action

    def think(self, position: Numbers) -> Thoughts:
        """[W]"""
        searched = self.search.run(self.search.plant(position[None]))
        n = searched.visits[0]
        q = np.where(n > 0, searched.q[0], np.nan)
        return Thoughts(n, q, float(searched.value[0]), int(searched.action[0]))


class MinimaxPlayer:
    """Alpha–beta to a depth; connect four is solved where few squares are left. Of moves that are
    equally good one is drawn.
    """

    def __init__(self, game: Game, depth: int, seed: int = 0) -> None:
        self.game, self.alpha_beta = game, AlphaBeta(game, depth)
        self.solver = ConnectFourSolver(game) if isinstance(game, ConnectFour) else None
        self.draw = np.random.Generator(np.random.PCG64(seed))

    def play(self, positions: Positions) -> NDArray[np.intp]:
        return np.array([self.think(position).action for position in positions])

    def think(self, position: Numbers) -> Thoughts:
        """[W]"""
        values = self.values_of(position)
        best = np.flatnonzero(values == np.nanmax(values))
        return Thoughts(None, values, float(np.nanmax(values)), int(self.draw.choice(best)))

    def values_of(self, position: Numbers) -> NDArray[np.float64]:
        if self.solver is not None:
            empty = self.game.longest - sum(1 for c in self.game.list_cells(position) if c)
            if empty <= SOLVED_FROM:
                each = self.solver.action_values(position)
                return np.array([np.nan if value is None else value for value in each])
        return self.alpha_beta.action_values(position)


class RandomPlayer:
    """Any legal move."""

    def __init__(self, game: Game, seed: int = 0) -> None:
        self.rollouts = Rollouts(game, seed=seed)

    def play(self, positions: Positions) -> NDArray[np.intp]:
        return self.rollouts.choose(positions)

    def think(self, position: Numbers) -> Thoughts:
        """[W]"""
        nothing = np.full(self.rollouts.game.actions, np.nan)
        return Thoughts(None, nothing, 0.0, int(self.play(position[None])[0]))


UCT_EXPLORATION = 2**0.5  # c, of results in −1…1 (open_spiel's example has 2)


def uct_player(game: Game, simulations: int, seed: int = 0) -> SearchPlayer:
    """UCT with one random game from each leaf."""
    settings = SearchSettings(simulations=simulations, rule="uct", exploration=UCT_EXPLORATION)
    return SearchPlayer(Search(KnownModel(game, Rollouts(game, 1, seed)), settings, seed))


def puct_player(game: Game, evaluator: Evaluator, simulations: int) -> SearchPlayer:
    """Without any chance: the same position is always answered alike."""
    return SearchPlayer(Search(KnownModel(game, evaluator), SearchSettings(simulations)))
