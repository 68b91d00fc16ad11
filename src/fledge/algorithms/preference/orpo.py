"""ORPO: maximum likelihood of the preferred answer, and a bonus where its odds are higher than the
rejected one's.

sample: pairs.  score: –.  weigh: –.  fit: nll + λ·odds ratio (Hong et al. 2024, eqs. 6 and 7). Both
terms are means over an answer's tokens, then over pairs; no reference.
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
from fledge.preference_losses import log_odds, odds_ratio
from fledge.score.reference import answer_logp, answer_tokens
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs


class ORPO:
    unfinished = None

    class Settings(AlgorithmSettings):
        """Of ORPO."""

        beta: float = Field(default=0.1, gt=0, description="λ: weight of the odds ratio")

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or ORPO.Settings()

    def update(
        self, batch: Pairs, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. reward_gap: the log of the ratio of odds. likelihood_loss: the first
        term.
        """
        count = self.learner.count_rows(batch)

        def loss(pairs: Pairs) -> tuple[Tensor, Mapping[str, Tensor]]:
            preferred_logp = answer_logp(self.policy, pairs.preferred)  # [B]
            rejected_logp = answer_logp(self.policy, pairs.rejected)  # [B]
            preferred_mean = preferred_logp / answer_tokens(pairs.preferred)
            rejected_mean = rejected_logp / answer_tokens(pairs.rejected)
            likelihood = -preferred_mean.sum() / count
            share = (
                likelihood
                + self.settings.beta * odds_ratio(preferred_mean, rejected_mean).sum() / count
            )
            gap = log_odds(preferred_mean) - log_odds(rejected_mean)
            marks = pair_figures(preferred_logp, rejected_logp, gap, 1 / count)
            return share, marks | {"likelihood_loss": likelihood}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
