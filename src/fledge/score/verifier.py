"""The task's own verdict as the reward: a dense score, and whether the answer is exactly right."""

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
        """reward: the dense score in [0, 1]; exact_match: 0 or 1. A completion that never stopped is not an answer: both 0."""
        score = self.task.score(examples, texts)
        exact = self.task.exact(examples, texts)
        stopped = [completion.stopped for completion in completions]
        return {
            "reward": [float(s) if ok else 0.0 for s, ok in zip(score, stopped, strict=True)],
            "exact_match": [float(e) if ok else 0.0 for e, ok in zip(exact, stopped, strict=True)],
        }
