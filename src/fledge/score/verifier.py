"""The task's own verdict as the reward: its score, and whether the answer is right; asked once for each completion."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.sample.generate import Completion
from fledge.worlds.tasks import Example, Task


class Verifier:
    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        """reward: the task's score; exact_match: is it right, 0 or 1. What never stopped is no answer: both 0, and its score where that
        is below 0, so that it never pays not to stop.

        judge_failed, where the judge can fail: did it, on this answer, 0 or 1.
        """
        verdicts = self.task.judge(examples, texts)
        stopped = [completion.stopped for completion in completions]
        marks = {
            "reward": [v.score if ok else min(v.score, 0.0) for v, ok in zip(verdicts, stopped, strict=True)],
            "exact_match": [float(v.right and ok) for v, ok in zip(verdicts, stopped, strict=True)],
        }
        if self.task.can_fail:
            marks["judge_failed"] = [float(v.failure is not None) for v in verdicts]
        return marks
