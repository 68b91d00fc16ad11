"""Distillation: at every step of a row the student's distribution over all tokens is drawn to the
teacher's.

sample: data, the teacher, or the student (on-policy: GKD, Agarwal et al. 2024, section 3 and
algorithm 1).  score: the teacher's distribution.  weigh: –.  fit: a divergence per token, its mean
over all chosen tokens of the step. The gradient does not pass through the sampling. Sequence-level
distillation (Kim & Rush 2016, eq. 5) is `Supervised` on the teacher's own answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.divergence import Divergence, divergence, forward_kl
from fledge.learner import Learner
from fledge.log_prob import find_cap
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class Distillation:
    unfinished = None  # an update is one optimizer step

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        *,
        teacher: TokenPolicy,
        kind: Divergence = forward_kl,
    ) -> None:
        """policy: the student. Both speak under the plain rule, over the student's actions."""
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.teacher, self.kind = teacher, kind

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step, none where no token is chosen. loss: the divergence in nats per
        chosen token.
        """
        count = self.learner.count(batch.chosen)
        if not bool(batch.chosen.any()):
            return self.learner.skip()

        def loss(rows: Trajectories) -> tuple[Tensor, Mapping[str, Tensor]]:
            return measure_divergence(self.kind, self.teacher, self.policy, rows).sum() / count, {}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"tokens": float(count)}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def measure_divergence(
    kind: Divergence, teacher: TokenPolicy, student: TokenPolicy, rows: Trajectories
) -> Tensor:
    """The divergence at each chosen step, row by row.  -> [N]"""
    with torch.no_grad():
        teacher_hidden = teacher.hidden(rows.obs[:, :-1])[rows.chosen]  # [N, D']
    hidden = student.hidden(rows.obs[:, :-1])[rows.chosen]  # [N, D]
    weights = teacher.network.unembedding.detach(), student.network.unembedding
    return divergence(
        kind, teacher_hidden, weights[0], hidden, weights[1], student.allowed, chunk=student.chunk,
        caps=(find_cap(teacher.network), find_cap(student.network)),
    )  # fmt: skip
