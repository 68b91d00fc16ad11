"""Prioritised sweeping over counts: it does not fit `weigh`, because nothing is weighed: whatever a
step has changed is backed up first, and then what leads there (Moore & Atkeson 1993; Sutton & Barto
2018, section 8.4).

sample: ε-greedily.  score, weigh: –.  fit: Q[s, a] ← r̄ + γ Σ P̂(s′) max Q[s′, ·], the pair that
would move most first; no gradient, no Learner. With the model known: plan/dynamic_programming.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from fledge.algorithms.parts.action_table import ActionTable, Writing
from fledge.algorithms.parts.counted_table import CountedTable, PlanningSettings
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class PrioritisedSweeping:
    """State: the table, the counts, and what waits, by how much it may move. Which pairs lead to a
    state follows from the counts.
    """

    gradient_claim = "no policy gradient: a table of values, backed up out of counts"

    class Settings(PlanningSettings):
        """Of prioritised sweeping."""

        threshold: float = Field(
            default=1e-6, gt=0, description="in reward: what would move less is left"
        )

    def __init__(
        self, table: ActionTable, stopwatch: Stopwatch, settings: Settings | None = None
    ) -> None:
        self.settings = settings or PrioritisedSweeping.Settings()
        self.table, self.stopwatch = table, stopwatch
        self.counted = CountedTable(table, self.settings)
        self.waiting: dict[int, float] = {}  # of each pair, how far it may be off
        self.heap: list[tuple[float, int]] = []  # −urgency and pair; older entries are passed over
        self.leads: dict[int, set[int]] = {}  # to each state, the pairs

    @property
    def unfinished(self) -> None:
        """An update has no middle."""
        return None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Every chosen step of the batch, each with its planning."""
        with self.stopwatch.phase("fit"):
            writing = Writing(self.table)
            for pair, after in self.counted.steps(batch, writing):
                self.leads.setdefault(after, set()).add(pair)
                self._settle(writing, pair)
                for _ in range(self.settings.planning_steps):
                    if (urgent := self._take()) is None:
                        break
                    self._settle(writing, urgent)
        return writing.figures() | {"waiting": float(len(self.waiting))}

    def _settle(self, writing: Writing, pair: int) -> None:
        """A backup, after which whatever leads to its state may move by γ P̂ times as much."""
        world, state = self.counted.world, pair // self.table.q.shape[1]
        self.waiting.pop(pair, None)
        before = max(writing.row(state))
        self.counted.backup(writing, pair)
        change = abs(max(writing.row(state)) - before)
        if not change:
            return
        for leading in self.leads.get(state, ()):
            share = world.outcomes[leading][state] / world.tried[leading]
            urgency = self.settings.gamma * share * change + self.waiting.get(leading, 0.0)
            self.waiting[leading] = urgency  # small ones add up
            if urgency > self.settings.threshold:
                heapq.heappush(self.heap, (-urgency, leading))

    def _take(self) -> int | None:
        """The most urgent pair, None where nothing waits."""
        while self.heap:
            urgency, pair = heapq.heappop(self.heap)
            if self.waiting.get(pair) == -urgency:
                return pair
        return None

    def state_dict(self) -> dict[str, Any]:
        # A heap's answers are in the order of its entries, all of them different, whatever their
        # places: what still counts is enough.
        return {"counted": self.counted.state_dict(), "waiting": list(self.waiting.items())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counted.load_state_dict(state["counted"])
        self.waiting = dict(state["waiting"])
        least = self.settings.threshold
        self.heap = [(-urgency, pair) for pair, urgency in self.waiting.items() if urgency > least]
        heapq.heapify(self.heap)
        self.leads = {}
        for pair, after in self.counted.world.outcomes.items():
            for place in after:
                self.leads.setdefault(place, set()).add(pair)
