"""Positions that are won by one move: an evaluator need not be asked about them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.plan.search.models import Evaluator
from fledge.worlds.games.game import Numbers, SeesWins


class WinsFirst:
    """An `Evaluator`: where a move wins at once, that is the move and 1 the value, by the rules;
    elsewhere what another says. Nothing below such a position has to be searched.
    """

    def __init__(self, game: SeesWins, evaluator: Evaluator) -> None:
        self.game, self.evaluator = game, evaluator

    def __call__(self, positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """[N, W], [N, A] -> [N, A], [N]"""
        wins = self.game.winning(positions)
        won = wins.any(1)
        if not won.any():
            return self.evaluator(positions, legal)
        chance = np.asarray(wins / np.maximum(wins.sum(1, keepdims=True), 1))
        value = np.asarray(won, dtype=np.float64)
        if not won.all():
            chance[~won], value[~won] = self.evaluator(positions[~won], legal[~won])
        return chance, value
