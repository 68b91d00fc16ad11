"""The task's own verdict as the reward: its score, and whether the answer is right; asked once for
each completion.
"""

from __future__ import annotations

from collections.abc import Sequence

from fledge.sample.conversing import find_failed
from fledge.sample.generate import Completion
from fledge.score.unfinished import MOST, cap_unfinished
from fledge.tasks.named import Example, Task, Verdict


class Verifier:
    def __init__(self, task: Task, *, cut_reward: float = MOST) -> None:
        """cut_reward: the most that an answer earns which never stopped."""
        self.task, self.cut_reward = task, cut_reward

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        """reward: the task's score; exact_match: is it right, 0 or 1. What never stopped is no
        answer: it is not right, and earns `cut_reward` at most.

        judge_failed, where the judge can fail: did it, on this answer, 0 or 1; also of a
        conversation that it failed to go on with, which it is not asked about.
        """
        verdicts = self._judge(examples, completions, texts)
        stopped = [completion.stopped for completion in completions]
        marks = {
            "reward": cap_unfinished([v.score for v in verdicts], completions, self.cut_reward),
            "exact_match": [float(v.right and ok) for v, ok in zip(verdicts, stopped, strict=True)],
        }
        if self.task.can_fail:
            marks["judge_failed"] = [float(v.failure is not None) for v in verdicts]
        return marks

    def _judge(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> list[Verdict]:
        failed = [find_failed(completion) for completion in completions]
        whole = [i for i, verdict in enumerate(failed) if verdict is None]
        said = iter(self.task.judge([examples[i] for i in whole], [texts[i] for i in whole]))
        return [next(said) if verdict is None else verdict for verdict in failed]
