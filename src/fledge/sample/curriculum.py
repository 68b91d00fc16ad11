"""Which part of a mixed task is asked next: the one at the edge of success, from which most is to
be learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fledge.errors import UserError
from fledge.seeds import generator_for
from fledge.tasks.named import Example, Task, TaskMixture

FORGETTING = 0.9  # of what was known of a part, kept each time that it is seen again
FLOOR = 0.1  # of all questions, dealt to every part alike: one that was too hard may be so no more


class Curriculum:
    """Parts are drawn in proportion to E[p (1 − p)], p being the chance that an answer is right.

    p (1 − p) is the variance of right and wrong among the answers to one question, and with it what
    a policy gradient with a group's mean as its baseline has to go by: nothing where all are right
    or all wrong. Of p a Beta(a, b) is known, which old answers leave by and by, so
    E[p (1 − p)] = ab / ((a + b)(a + b + 1)), which is 1/6 for a part that was never asked. Goals of
    intermediate difficulty are those of Florensa et al. 2018 (arXiv 1705.06366).

    State: counts of each part, the number of its next example, and the generator.
    """

    def __init__(self, task: Task, seed: int) -> None:
        """Raises UserError for a task of one part."""
        if not isinstance(task, TaskMixture):
            raise UserError(
                f"curriculum=true chooses among the parts of a task, and {task.name} is one alone: "
                "name several, such as household:1-3."
            )
        self.parts = task.parts
        self.right = [0.0] * len(self.parts)  # answers, old ones fading
        self.wrong = [0.0] * len(self.parts)
        self.next = [0] * len(self.parts)
        self.generator = generator_for(seed, "data", "curriculum")

    @property
    def shares(self) -> torch.Tensor:
        """Of the questions that are drawn next, each part's.  [K]"""
        a = torch.tensor(self.right, dtype=torch.float64) + 1
        b = torch.tensor(self.wrong, dtype=torch.float64) + 1
        edge = a * b / ((a + b) * (a + b + 1))
        return FLOOR / len(self.parts) + (1 - FLOOR) * edge / edge.sum()

    def draw(self, number: int) -> list[Example]:
        """The next questions of training."""
        drawn = torch.multinomial(self.shares, number, replacement=True, generator=self.generator)
        examples = []
        for k in drawn.tolist():
            examples.append(self.parts[k].example(self.next[k], "train"))
            self.next[k] += 1
        return examples

    def learn(self, answered: Sequence[tuple[str, Sequence[float]]]) -> dict[str, float]:
        """The names of the parts that were asked, and of each answer whether it was right. Figures:
        the share of each part that will be drawn, by its name.
        """
        names = [part.name for part in self.parts]
        for k, name in enumerate(names):
            marks = [mark for asked, own in answered if asked == name for mark in own]
            if marks:
                self.right[k] = FORGETTING * self.right[k] + sum(marks)
                self.wrong[k] = FORGETTING * self.wrong[k] + len(marks) - sum(marks)
        return {
            f"share_of_{name}": share
            for name, share in zip(names, self.shares.tolist(), strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "right": list(self.right),
            "wrong": list(self.wrong),
            "next": list(self.next),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.right, self.wrong = list(state["right"]), list(state["wrong"])
        self.next = list(state["next"])
        self.generator.set_state(state["generator"])
