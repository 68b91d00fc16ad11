"""Reward-weighted regression: imitate your own samples, the better the more, with weights exp(r/β)
(Peters & Schaal 2007).

sample: policy.  score: reward − β_KL·log(π/π_ref), summed over the row.  weigh: exp of it,
normalised.  fit: nll. As a case of it, advantage-weighted regression (Peng et al. 2019, Algorithm
1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.minibatches import Minibatches
from fledge.algorithms.settings import Passes, Sampling
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.score.scoring import groups, kl_to, sum_rewards, use_trainer_logp, zero_spread_groups
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled, Trajectories, Weighed
from fledge.weigh import effective_sample_size, group_max, group_mean, share_in_group


class RewardWeighted:
    class Settings(Passes):
        """Of reward-weighted and advantage-weighted regression."""

        weights: Literal["group", "batch", "advantage"] = Field(
            default="group",
            description=(
                "exp(reward) with mean 1 in each group or in the batch; or exp of the advantage "
                "over the group's mean, as it is"
            ),
        )
        reward_temperature: float = Field(
            default=1.0, gt=0, description="an answer weighs exp(reward / this)"
        )
        weight_cap: float | None = Field(
            default=None, gt=0, description="the largest weight an answer may have; none: any"
        )

        def sampling(self) -> Sampling:
            return Sampling(smallest_group=2)

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: Policy | None = None,
        kl: KLControl | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or RewardWeighted.Settings()
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.minibatches = Minibatches(*self.settings.count_updates(), generator, kind=Weighed)

    @property
    def gradient_claim(self) -> str:
        climbed = "advantage" if self.settings.weights == "advantage" else "r"
        return f"biased: it climbs {'E' if climbed != 'r' else 'log E'}[exp({climbed}/temperature)]"

    @property
    def unfinished(self) -> Weighed | None:
        return self.minibatches.batch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """All optimizer steps on one batch of samples."""
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                samples, score, figures = self.score(batch.to(self.learner.device))
            weight = self.weigh(score, groups(samples))  # [B]
            figures["effective_sample_size"] = effective_sample_size(weight)
            each = weight[:, None].expand_as(samples.reward)  # [B, T]
            self.minibatches.begin(Weighed.of(samples, weight=each), figures)
        with self.stopwatch.phase("fit"):
            figures = self.minibatches.run(self.fit, between_steps)
        self.kl.observe(figures["kl_k1"])
        return figures

    def score(self, batch: Trajectories) -> tuple[Sampled, Tensor, dict[str, float]]:
        """The batch, and what each whole row is worth after the KL penalty [B]."""
        samples, figures = use_trainer_logp(self.policy, batch, self.learner)
        kl, distance = kl_to(self.reference, samples, self.learner)
        spread = {
            "zero_spread_groups": zero_spread_groups(batch),
            "kl_coefficient": self.kl.beta,
        }
        return samples, sum_rewards(batch) - self.kl.beta * kl.sum(1), figures | distance | spread

    def weigh(self, score: Tensor, group: Tensor) -> Tensor:
        """[B], [B] -> [B]"""
        worth = score / self.settings.reward_temperature
        if self.settings.weights == "group":
            size = 1 / share_in_group(torch.ones_like(worth), group)
            weight = size * share_in_group((worth - group_max(worth, group)).exp(), group)
        elif self.settings.weights == "advantage":
            weight = (worth - group_mean(worth, group)).clamp(max=60.0).exp()
        else:
            rows = self.learner.count(torch.ones_like(score, dtype=torch.bool))
            mass = (worth.double() - worth.max()).exp()  # of the best row: 1
            weight = (mass * rows / mass.sum()).to(worth.dtype)
        return (
            weight
            if self.settings.weight_cap is None
            else weight.clamp(max=self.settings.weight_cap)
        )

    def fit(self, batch: Weighed) -> dict[str, float]:
        """One optimizer step: the weighted mean over rows of −log π(y)."""
        rows = self.learner.count_rows(batch)

        def loss(part: Weighed) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            return total(nll(logp, part.weight), part.chosen, rows), {}

        return self.learner.step(loss, batch)

    def state_dict(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "kl": self.kl, "minibatches": self.minibatches}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in {
            "learner": self.learner,
            "kl": self.kl,
            "minibatches": self.minibatches,
        }.items():
            part.load_state_dict(state[name])


# The mean of the group stands for the paper's critic; 20 is its cap on weights.
AWR = RewardWeighted.Settings(weights="advantage", weight_cap=20.0)
