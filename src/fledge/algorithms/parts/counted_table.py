"""A table of values over a world that is counted as it is acted in: what Dyna and prioritised
sweeping share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from fledge.algorithms.parts.action_table import ActionTable, TableSettings, Writing
from fledge.models.control.counted_world import CountedWorld
from fledge.trajectories import Trajectories

Seen = tuple[int, int]  # a pair, and the state after it


class PlanningSettings(TableSettings):
    """Of an algorithm that fills a table out of a counted world."""

    planning_steps: int = Field(
        default=10, ge=0, description="backups out of what was counted, after each step"
    )
    count_bonus: float = Field(
        default=0.0,
        ge=0,
        description="β: reward added to an action tried n times, β/√n, so that it is tried more",
    )
    initial_value: float = Field(
        default=0.0, description="what an action is worth before it was tried, in reward"
    )


class CountedTable:
    """A backup is the expectation over what was counted (Sutton & Barto 2018, section 8.5), so
    that no learning rate is needed: where the counts come to the world's chances, Q comes to Q*.

    β/√n is paid for what was tried n times (Strehl & Littman 2008, eq. 3: MBIE-EB), in every
    backup.
    """

    def __init__(self, table: ActionTable, settings: PlanningSettings) -> None:
        self.table, self.settings = table, settings
        self.world = CountedWorld(*table.q.shape)

    def backup(self, writing: Writing, pair: int) -> float:
        """Q[s, a] ← r̄ + β/√n + γ Σ P̂ max Q.  -> how far it moved"""
        world, s = self.world, self.settings
        n, ahead = world.tried[pair], 0.0
        for after, times in world.outcomes[pair].items():
            if after != world.end:
                ahead += times * max(writing.row(after))
        bonus = s.count_bonus / math.sqrt(n) if s.count_bonus else 0.0
        target = (world.paid[pair] + s.gamma * ahead) / n + bonus
        moved = abs(target - writing.q[pair])
        writing.q[pair] = target
        writing.moved += moved
        writing.moves += 1
        return moved

    def steps(self, batch: Trajectories, writing: Writing) -> Iterator[Seen]:
        """Every chosen step in the order of time, counted as it comes."""
        state = self.table.states(batch.obs).T.tolist()  # [T+1, B]
        fields = (batch.action, batch.reward, batch.chosen, batch.terminated)
        action, reward, chosen, terminated = (x.T.tolist() for x in fields)
        for t in range(len(action)):
            for i, mine in enumerate(chosen[t]):
                if not mine:
                    continue
                pair = state[t][i] * self.table.q.shape[1] + action[t][i]
                after = self.world.end if terminated[t][i] else state[t + 1][i]
                self.world.see(pair, reward[t][i], after)
                writing.visits[pair] += 1
                self.table.taught += 1
                yield pair, after

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.state_dict(), "world": self.world.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.table.load_state_dict(state["table"])
        self.world.load_state_dict(state["world"])
