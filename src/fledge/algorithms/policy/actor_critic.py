"""Actor–critic: what turned out better than the critic expected becomes likelier, and the critic
learns what it turned out to be.

sample: policy, T steps in n copies of a world.  score: reward.  weigh: GAE (λ = 0 the one-step TD
    error, λ = 1 the return).
fit: nll with signed weights + value error − entropy bonus, one optimizer step a batch. n = T = 1 is
the online form, n > 1 the parallel synchronous one (A2C). Mnih et al. 2016, §4 and supplement S3.
Where workers lag behind, the policy gradient's own ρ of Espeholt et al. 2018, §4.2: what came later
in a row, and the critic's target, stay the older policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.judged import Judged
from fledge.algorithms.policy.ppo import PolicyWithCritic
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.fit import nll, total, value_error
from fledge.learner import Learner
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import explained_variance, gae, log_ratio


class AdvantageActorCritic:
    gradient_claim = (
        "biased: a learned critic bootstraps, the mean is over steps, and of an older policy's "
        "rows only the step is reweighed"
    )
    unfinished = None  # one optimizer step per batch: the samples are the current policy's

    class Settings(AlgorithmSettings):
        """Of actor–critic."""

        gamma: float = Field(default=0.99, ge=0, le=1, description="discount per step")
        gae_lambda: float = Field(
            default=1.0, ge=0, le=1, description="of the advantage estimation"
        )
        value_coefficient: float = Field(
            default=0.5, ge=0, description="of the value error in the loss"
        )
        entropy_coefficient: float = Field(default=0.0, ge=0, description="of the entropy bonus")
        truncate_at: float | None = Field(
            default=None,
            gt=0,
            description=(
                "the largest importance weight of a step that an older policy made; none: all "
                "steps are its own"
            ),
        )

    def __init__(
        self,
        actor_critic: PolicyWithCritic,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
    ) -> None:
        self.actor_critic, self.learner, self.stopwatch = actor_critic, learner, stopwatch
        self.settings = settings or AdvantageActorCritic.Settings()

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step; none on a batch in which nobody chose anything: worlds began anew,
        and a step would be momentum alone.
        """
        batch = batch.to(self.learner.device)
        if not bool(batch.chosen.any()):
            return {}
        with self.stopwatch.phase("score"):
            judged, figures = self.weigh(batch)
        steps = judged.as_steps()
        count = self.learner.count(steps.chosen)

        def loss(rows: Judged) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp, entropy, value = self.actor_critic.evaluate(
                rows.obs[:, :-1],
                rows.action,
                rows.chosen,
                entropy=self.settings.entropy_coefficient != 0,
            )
            policy_loss = total(nll(logp, rows.weight), rows.chosen, count)
            value_loss = total(value_error(value, rows.target), rows.chosen, count)
            whole = policy_loss + self.settings.value_coefficient * value_loss
            if self.settings.entropy_coefficient:
                whole = whole - self.settings.entropy_coefficient * total(
                    entropy, rows.chosen, count
                )
            return whole, {"policy_loss": policy_loss, "value_loss": value_loss}

        with self.stopwatch.phase("fit"):
            figures |= self.learner.step(loss, steps)
        return figures

    @torch.no_grad()
    def weigh(self, batch: Trajectories) -> tuple[Judged, dict[str, float]]:
        """With the advantage of every step as its `weight`, and the critic's `target`.

        Raises UserError for samples of an older policy that do not say what it thought of them.
        """
        logp, _, value = self.actor_critic.evaluate(batch.obs, batch.action, batch.chosen)
        ends = (batch.chosen, batch.terminated, batch.truncated)
        advantage, target = gae(
            batch.reward, value, *ends, self.settings.gamma, self.settings.gae_lambda
        )
        figures = {
            "explained_variance": explained_variance(value[:, :-1], target, batch.chosen),
            "entropy": float(total(-logp, batch.chosen, self.learner.count(batch.chosen))),
        }
        if self.settings.truncate_at is not None:
            if batch.logp is None:
                raise UserError(
                    "samples of an older policy came without its log-probabilities: keep them "
                    "(`logp`)."
                )
            ratio = log_ratio(logp, batch.logp, batch.chosen).exp()
            ratio = ratio.clamp(max=self.settings.truncate_at)
            advantage = advantage * ratio
            figures["importance_weight"] = float(
                total(ratio, batch.chosen, self.learner.count(batch.chosen))
            )
        return Judged.of(batch, weight=advantage, target=target), figures

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
