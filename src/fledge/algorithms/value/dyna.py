"""Dyna-Q: it does not fit `weigh`, because nothing is weighed: every step is counted, and a table
is backed up out of the counts, here and wherever it has been (Sutton 1990; Sutton & Barto 2018,
section 8.2).

sample: ε-greedily.  score, weigh: –.  fit: Q[s, a] ← r̄ + γ Σ P̂(s′) max Q[s′, ·] of the step just
made, then of `planning_steps` pairs drawn evenly from those tried; no gradient, no Learner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fledge.algorithms.parts.action_table import ActionTable, Writing
from fledge.algorithms.parts.counted_table import CountedTable, PlanningSettings
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class Dyna:
    """State: the table, the counts, and the generator of which pairs are backed up."""

    gradient_claim = "no policy gradient: a table of values, backed up out of counts"

    class Settings(PlanningSettings):
        """Of Dyna-Q."""

    def __init__(
        self,
        table: ActionTable,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        self.settings = settings or Dyna.Settings()
        self.table, self.stopwatch, self.generator = table, stopwatch, generator
        self.counted = CountedTable(table, self.settings)

    @property
    def unfinished(self) -> None:
        """An update has no middle."""
        return None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Every chosen step of the batch, each with its planning."""
        with self.stopwatch.phase("fit"):
            writing, n = Writing(self.table), self.settings.planning_steps
            chance = torch.rand(
                int(batch.chosen.sum()), n, generator=self.generator, dtype=torch.float64
            ).tolist()
            pairs = self.counted.world.pairs
            for drawn, (pair, _) in zip(chance, self.counted.steps(batch, writing), strict=True):
                self.counted.backup(writing, pair)
                for uniform in drawn:
                    self.counted.backup(writing, pairs[int(uniform * len(pairs))])
        return writing.figures()

    def state_dict(self) -> dict[str, Any]:
        return {"counted": self.counted.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counted.load_state_dict(state["counted"])
        self.generator.set_state(state["generator"])
