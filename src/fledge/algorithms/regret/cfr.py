"""Counterfactual regret minimisation over the whole tree: CFR and CFR+.

sample: –, every history counts.  score: the counterfactual worth of each action.  weigh: its
regret.  fit: the next strategy in proportion to positive regrets, the answer is the average of all
strategies; no gradient. Zinkevich et al. 2007, eqs. 5 to 8; CFR+ (Tammelin 2014): regrets never
below 0, players in turn, iteration t counts t times in the average.

Only for two players and zero sums does the average become an equilibrium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.plan.game_tree import GameTree
from fledge.plan.sequence_form import Depth, SequenceForm
from fledge.stopwatch import Stopwatch


class CounterfactualRegret:
    """regret, sums: of both players, a number a slot of theirs. The sums are of how likely a player
    made each of its sequences, so that averages weigh a strategy by how often it came to be asked.
    """

    gradient_claim = "no policy gradient: regrets are matched in a table"

    class Settings(AlgorithmSettings):
        """Of counterfactual regret minimisation over the whole tree."""

        floor: bool = Field(
            default=False, description="regrets never fall below 0, as in CFR+ (regret matching+)"
        )
        averaging: Literal["uniform", "linear"] = Field(
            default="uniform", description="linear: iteration t counts t times in the average"
        )
        delay: int = Field(
            default=0, ge=0, description="first iterations that the average leaves out"
        )
        alternating: bool = Field(
            default=True,
            description="the second player meets the first one's new strategy; false: both change "
            "at once",
        )

    unfinished = None

    def __init__(
        self, tree: GameTree, stopwatch: Stopwatch, settings: Settings | None = None, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        """seed: of nothing, for nothing is drawn."""
        self.form, self.stopwatch = SequenceForm(tree), stopwatch
        self.settings = settings or CounterfactualRegret.Settings()
        self.iteration = 0
        self.regret, self.sums = (
            [np.zeros(len(side.owner)) for side in self.form.sides] for _ in range(2)
        )

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One iteration: both players once.  batch: nothing."""
        with self.stopwatch.phase("fit"):
            self.iteration += 1
            plans = [self._plan(player) for player in (0, 1)]
            for player in (0, 1):
                if player and self.settings.alternating:
                    plans[0] = self._plan(0)
                self._learn(player, plans[player], plans[1 - player])
        # both have the same bound: Zinkevich et al. 2007, theorem 2
        most = [float(np.maximum(regret, 0).sum()) for regret in self.regret]
        return {"positive_regret": sum(most) / self.iteration}

    def _plan(self, player: int) -> np.ndarray:
        side = self.form.sides[player]
        return side.realise(side.average(np.maximum(self.regret[player], 0)))

    def _learn(self, player: int, own: np.ndarray, other: np.ndarray) -> None:
        """own, other: how likely each makes its sequences."""
        side, s = self.form.sides[player], self.settings
        strategy = side.average(np.maximum(self.regret[player], 0))

        def expect(worth: np.ndarray, depth: Depth) -> np.ndarray:
            return np.add.reduceat(worth * strategy[depth.slots], depth.first)

        worth, value, _ = side.look_back(self.form.weigh_ends(player, other), expect)
        self.regret[player] += worth - value[side.owner]
        if s.floor:
            np.maximum(self.regret[player], 0, out=self.regret[player])
        counted = self.iteration - s.delay
        if counted > 0:
            self.sums[player] += own[1:] * (counted if s.averaging == "linear" else 1)

    def average_strategies(self) -> tuple[np.ndarray, np.ndarray]:
        """The answer so far, a probability a slot of each player's side."""
        first, second = (
            side.average(sums) for side, sums in zip(self.form.sides, self.sums, strict=True)
        )
        return first, second

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "regret": [torch.from_numpy(each.copy()) for each in self.regret],
            "sums": [torch.from_numpy(each.copy()) for each in self.sums],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        self.regret = [each.numpy().copy() for each in state["regret"]]
        self.sums = [each.numpy().copy() for each in state["sums"]]


# Tammelin 2014, algorithm 1
CFR_PLUS = CounterfactualRegret.Settings(floor=True, averaging="linear")
