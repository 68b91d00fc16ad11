"""Learning from single steps, in a table: Q-learning, SARSA and expected SARSA, which differ in
what the next state is worth.

sample: ε-greedily.  score: –.  weigh: –.  fit: Q[s, a] ← Q[s, a] + α (r + γ·worth(s′) − Q[s, a]);
no gradient, no Learner. Q-learning: Watkins & Dayan 1992, eq. 1; SARSA: Rummery & Niranjan 1994;
expected: van Seijen et al. 2009, eq. 2 (Sutton & Barto 2018, eqs. 6.7 to 6.9). Bellman's equation
with the expectation in place of the sample is plan/dynamic_programming.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field, SkipValidation

from fledge.algorithms.parts.action_table import ActionTable, TableSettings, Writing
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class Worth(Protocol):
    """What is to be had from a state: of its row of Q [A], the action taken there, None where there
    was none, and ε.
    """

    def __call__(self, row: Sequence[float], action: int | None, epsilon: float) -> float: ...


def greedy_worth(row: Sequence[float], action: int | None, epsilon: float) -> float:
    """max_a Q[s, a]: Q-learning's, of the best policy whatever is done."""
    return max(row)


def expected_worth(row: Sequence[float], action: int | None, epsilon: float) -> float:
    """Σ_a π(a|s) Q[s, a] of the ε-greedy policy: expected SARSA's."""
    return (1 - epsilon) * max(row) + epsilon * sum(row) / len(row)


def taken_worth(row: Sequence[float], action: int | None, epsilon: float) -> float:
    """Q[s, a] of the action taken: SARSA's. After a truncation none is, and its expectation stands
    in.
    """
    return expected_worth(row, action, epsilon) if action is None else row[action]


class Tabular:
    """Takes the steps of all copies in the order of time, one after the other, as the textbook does
    with one copy.

    A step is taught when the next action is known, so that the last one of a row waits for the next
    batch: what waits is in the state.
    Terminated: nothing more to come. Truncated: the true last observation's worth.
    """

    gradient_claim = "no policy gradient: a table of values, drawn towards a bootstrapped target"

    class Settings(TableSettings):
        """Of learning from single steps, in a table."""

        worth: SkipValidation[Worth] = Field(default=greedy_worth, exclude=True)

    def __init__(
        self, table: ActionTable, stopwatch: Stopwatch, settings: Settings | None = None
    ) -> None:
        self.table, self.stopwatch = table, stopwatch
        self.settings = settings or Tabular.Settings()
        self.waiting: list[list[Any] | None] = []  # of each copy: state, action, reward, next state

    @property
    def unfinished(self) -> None:
        """An update has no middle."""
        return None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Every chosen step of the batch, and what had waited."""
        with self.stopwatch.phase("fit"):
            writing = Writing(self.table)
            state = self.table.states(batch.obs).T.tolist()  # [T+1, B]
            action, reward, chosen, terminated, truncated = (
                x.T.tolist()
                for x in (
                    batch.action,
                    batch.reward,
                    batch.chosen,
                    batch.terminated,
                    batch.truncated,
                )
            )
            waiting = self.waiting or [None] * len(batch)
            epsilon = self.table.epsilon  # of whoever acted
            for t in range(len(action)):
                for i, mine in enumerate(chosen[t]):
                    if not mine:
                        continue
                    before, here = (
                        waiting[i],
                        (state[t][i], action[t][i], reward[t][i], state[t + 1][i]),
                    )
                    if before is not None:
                        # A world that could not be restored has begun anew in between: nobody acted
                        # where the step led.
                        self._teach(
                            writing, before, here[1] if before[3] == here[0] else None, epsilon
                        )
                        waiting[i] = None
                    if terminated[t][i]:
                        writing.teach(here[0], here[1], here[2])
                    elif truncated[t][i]:
                        self._teach(writing, here, None, epsilon)
                    else:
                        waiting[i] = list(here)
            self.waiting = waiting
            self.table.taught += int(batch.chosen.sum())
        return writing.figures()

    def _teach(
        self, writing: Writing, step: Sequence[Any], following: int | None, epsilon: float
    ) -> None:
        state, action, reward, after = step
        worth = self.settings.worth(writing.row(after), following, epsilon)
        writing.teach(state, action, reward + self.settings.gamma * worth)

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.state_dict(), "waiting": self.waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.table.load_state_dict(state["table"])
        self.waiting = [None if step is None else list(step) for step in state["waiting"]]


Q_LEARNING = Tabular.Settings(worth=greedy_worth)
SARSA = Tabular.Settings(worth=taken_worth)
EXPECTED_SARSA = Tabular.Settings(worth=expected_worth)
