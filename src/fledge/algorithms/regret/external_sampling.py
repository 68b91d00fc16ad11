"""Monte Carlo counterfactual regret minimisation by external sampling: a walk tries every action of
one player and draws what chance and the other do.

sample: walks.  score: the worth of each action within a walk.  weigh: its sampled regret.  fit: the
next strategy in proportion to positive regrets, the answer is the average; no gradient. Lanctot,
Waugh, Zinkevich & Bowling 2009, §4 and algorithm of its supplement; of many walks at a time the
mean regret is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.plan.game_tree import GameTree
from fledge.plan.sampled_walks import pick_by, walk
from fledge.plan.sequence_form import SequenceForm
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch


class ExternalSampling:
    """regret, sums [slots of the tree]: of both players. Sums grow where the other player's walks
    come by, by its strategy there.
    """

    gradient_claim = "no policy gradient: regrets are matched in a table"

    class Settings(AlgorithmSettings):
        """Of external sampling."""

        walks: int = Field(
            default=64, ge=1, description="for each player an iteration, all by one strategy"
        )
        floor: bool = Field(
            default=False, description="regrets never fall below 0 (regret matching+)"
        )

    unfinished = None

    def __init__(
        self, tree: GameTree, stopwatch: Stopwatch, settings: Settings | None = None, *,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.tree, self.form, self.stopwatch = tree, SequenceForm(tree), stopwatch
        self.settings = settings or ExternalSampling.Settings()
        self.generator = generator_for(seed, "actor")
        self.iteration = 0
        self.regret, self.sums = np.zeros(tree.slots), np.zeros(tree.slots)

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One iteration: the walks of both players.  batch: nothing."""
        histories = 0
        with self.stopwatch.phase("fit"):
            self.iteration += 1
            for walker in (0, 1):
                strategy = self._match()
                pick = pick_by(self.tree, strategy, self._draw)
                walked = walk(self.tree, walker, strategy, self.settings.walks, pick)
                self.regret += walked.regret / self.settings.walks
                if self.settings.floor:
                    np.maximum(self.regret, 0, out=self.regret)
                self.sums += walked.visited * strategy / self.settings.walks
                histories += walked.histories
        return {"histories": float(histories)}

    def _draw(self, number: int) -> np.ndarray:
        return torch.rand(number, dtype=torch.float64, generator=self.generator).numpy()

    def _match(self) -> np.ndarray:
        """The strategy of both in proportion to positive regrets.  [slots]"""
        strategy = np.empty(self.tree.slots)
        for side in self.form.sides:
            own = np.maximum(self.regret[side.tree_slot], 0)
            strategy[side.tree_slot] = side.average(own)
        return strategy

    def average_strategies(self) -> tuple[np.ndarray, np.ndarray]:
        """The answer so far, a probability a slot of each player's side."""
        first, second = (side.average(self.sums[side.tree_slot]) for side in self.form.sides)
        return first, second

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "generator": self.generator.get_state(),
            "regret": torch.from_numpy(self.regret.copy()),
            "sums": torch.from_numpy(self.sums.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        self.generator.set_state(state["generator"])
        self.regret, self.sums = state["regret"].numpy().copy(), state["sums"].numpy().copy()
