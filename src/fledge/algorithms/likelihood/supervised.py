"""Maximum likelihood: pre-training, instruction tuning, behavioural cloning.

sample: data.  score: –.  weigh: 1.  fit: nll.  The mean is over all trained tokens of the optimizer
    step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class Supervised:
    unfinished = None  # an update is one optimizer step: there is nothing to be in the middle of

    def __init__(self, policy: TokenPolicy, learner: Learner, stopwatch: Stopwatch) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step on the batch, none where no token of it is trained. loss: nats per
        trained token.
        """
        count = self.learner.count(batch.chosen)
        if not bool(batch.chosen.any()):
            return self.learner.skip()

        def loss(rows: Trajectories) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(rows.obs, rows.action, rows.chosen)  # [B, T]
            return total(nll(logp), rows.chosen, count), {}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"tokens": float(count)}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
