"""Monte Carlo control, in a table: an action is worth what came after it, no more is believed than
was seen to the end.

sample: ε-greedily, whole episodes.  score: –.  weigh: reward to go.  fit: Q[s, a] ← Q[s, a] + α (G
− Q[s, a]); no gradient, no Learner. Sutton & Barto 2018, section 5.4 (first visits) and, for every
visit, Singh & Sutton 1996. Where an episode spans several batches the
policy has changed under it: batches that are long beside an episode keep that small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from fledge.algorithms.parts.action_table import ActionTable, TableSettings, Writing
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class MonteCarlo:
    """Teaches an episode when it has ended, from its last step to its first; episodes under way are
    in the state.

    What would have come after a truncation counts 0, as in `weigh.reward_to_go`.
    """

    gradient_claim = "no policy gradient: a table of values, drawn towards the returns"

    class Settings(TableSettings):
        """Of Monte Carlo control, in a table."""

        first_visit: bool = Field(
            default=True,
            description=(
                "only the first time of a state and action in an episode counts, which is "
                "unbiased; else every time"
            ),
        )

    def __init__(
        self, table: ActionTable, stopwatch: Stopwatch, settings: Settings | None = None
    ) -> None:
        self.table, self.stopwatch = table, stopwatch
        self.settings = settings or MonteCarlo.Settings()
        self.under_way: list[
            list[list[Any]]
        ] = []  # of each copy: its steps so far, each state, action, reward
        self.last: list[int] = []  # of each copy: the state in which the last batch left it

    @property
    def unfinished(self) -> None:
        """An update has no middle."""
        return None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Every episode that ends in the batch, in the order in which they end."""
        with self.stopwatch.phase("fit"):
            writing, episodes = Writing(self.table), 0
            state = self.table.states(batch.obs).T.tolist()  # [T+1, B]
            action, reward, chosen = (
                x.T.tolist() for x in (batch.action, batch.reward, batch.chosen)
            )
            ended = (batch.terminated | batch.truncated).T.tolist()  # [T, B]
            self.under_way = self.under_way or [[] for _ in range(len(batch))]
            for steps, left, first in zip(
                self.under_way, self.last or state[0], state[0], strict=True
            ):
                if left != first:  # a world that could not be restored has begun anew
                    steps.clear()
            self.last = state[-1]
            for t in range(len(action)):
                for i, steps in enumerate(self.under_way):
                    if not chosen[t][i]:
                        continue
                    steps.append([state[t][i], action[t][i], reward[t][i]])
                    if ended[t][i]:
                        self._teach(writing, steps)
                        steps.clear()
                        episodes += 1
            self.table.taught += int(batch.chosen.sum())
        return {**writing.figures(), "episodes": float(episodes)}

    def _teach(self, writing: Writing, steps: list[list[Any]]) -> None:
        first: dict[tuple[int, int], int] = {}
        for t, (state, action, _) in enumerate(steps):
            first.setdefault((state, action), t)
        to_go = 0.0
        for t in reversed(range(len(steps))):
            state, action, reward = steps[t]
            to_go = reward + self.settings.gamma * to_go
            if not self.settings.first_visit or first[state, action] == t:
                writing.teach(state, action, to_go)

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.state_dict(), "under_way": self.under_way, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.table.load_state_dict(state["table"])
        self.under_way = [[list(step) for step in steps] for steps in state["under_way"]]
        self.last = list(state["last"])
