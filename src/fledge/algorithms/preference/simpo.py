"""SimPO: the mean log-probability of a token is the reward, so that length earns nothing and no
reference is needed.

sample: pairs.  score: –.  weigh: –.  fit: pairwise logistic on β·log π(y)/|y| with a margin γ (Meng
    et al. 2024, eq. 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from fledge.algorithms.preference.dpo import pair_figures
from fledge.algorithms.settings import AlgorithmSettings
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.preference_losses import simpo
from fledge.score.reference import answer_logp, answer_tokens
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs


class SimPO:
    unfinished = None

    class Settings(AlgorithmSettings):
        """Of SimPO."""

        beta: float = Field(default=2.0, gt=0, description="β: scale of the reward")
        margin: float = Field(
            default=1.0, ge=0, description="γ: by how much the preferred reward must lead"
        )

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or SimPO.Settings()

    def update(
        self, batch: Pairs, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step."""
        s = self.settings
        count = self.learner.count_rows(batch)

        def loss(pairs: Pairs) -> tuple[Tensor, Mapping[str, Tensor]]:
            preferred_logp = answer_logp(self.policy, pairs.preferred)  # [B]
            rejected_logp = answer_logp(self.policy, pairs.rejected)  # [B]
            preferred_mean = preferred_logp / answer_tokens(pairs.preferred)
            rejected_mean = rejected_logp / answer_tokens(pairs.rejected)
            gap = s.beta * (preferred_mean - rejected_mean)
            share = simpo(preferred_mean, rejected_mean, s.beta, s.margin).sum() / count
            return share, pair_figures(preferred_logp, rejected_logp, gap, 1 / count)

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
