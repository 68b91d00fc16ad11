"""Tells learners how much of a run each batch is, so that their schedules end where the run does;
and which steps were not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fledge.learner import Learner
from fledge.runs.folder import Run
from fledge.runs.show import Show


@dataclass(frozen=True)
class Pace:
    """A learner, how many optimizer steps it makes on a batch, and after how many world steps the
    first one comes.
    """

    learner: Learner
    steps: float
    after: int = 0


class Paced:
    """An algorithm of which every batch takes its share of the schedules, however many optimizer
    steps come of it.
    """

    def __init__(
        self, algorithm: Any, paces: Sequence[Pace], units: Callable[[Pace, Any], float]
    ) -> None:
        """units: how much of a run the batch is, in what its learner's schedule is told in."""
        self.algorithm, self.paces, self.units = algorithm, paces, units

    @property
    def unfinished(self) -> Any:
        return self.algorithm.unfinished

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        if self.unfinished is None:
            for pace in self.paces:
                clock, last = pace.learner.clock, pace.learner.schedule.steps
                clock.pace(self.units(pace, batch), pace.steps, pace.after, last)
        return self.algorithm.update(batch, between_steps)

    def state_dict(self) -> dict[str, Any]:
        return self.algorithm.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state)


def by_batches(algorithm: Any, learner: Learner, steps: int) -> Paced:
    """A schedule in optimizer steps, `steps` of them a batch."""
    return Paced(algorithm, [Pace(learner, steps)], lambda pace, batch: pace.steps)


def by_world_steps(algorithm: Any, paces: Sequence[Pace]) -> Paced:
    """Schedules in the world steps that the batches hold: how many batches there will be nobody
    knows, for the steps that only begin an episode anew count for nothing.
    """
    return Paced(algorithm, paces, lambda pace, batch: batch.count_actions())


# What changes it, by verb, where rows have nothing to learn from.
_CUT = " Look whether rows are cut before the tokens that they should teach."
_ADVICE = {
    "align": (
        " Answers that are all worth the same teach nothing: raise `samples_per_prompt` or "
        "`temperature`, or give tasks that are sometimes met and sometimes not."
    ),
    "tune": _CUT,
    "prefer": _CUT,
    "reward": _CUT,
    "distill": _CUT,
}


def say_skipped(run: Run, show: Show) -> None:
    """What to do, where a run had optimizer steps with nothing to learn from."""
    skipped = sum(row.get("steps_skipped", 0) for row in run.metrics.each())
    if skipped:
        steps = "1 optimizer step was" if skipped == 1 else f"{skipped:,.0f} optimizer steps were"
        show.line(
            f"{steps} not made: their rows had nothing to learn from (`steps_skipped` in "
            f"metrics.jsonl).{_ADVICE.get(run.verb, '')}"
        )
