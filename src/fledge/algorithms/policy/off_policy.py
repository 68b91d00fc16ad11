"""REINFORCE on samples of another policy μ, each weighted by how much likelier this policy makes it
(Precup et al. 2000).

sample: any policy whose log-probabilities were kept.  score: reward − β·log(π/π_ref).
weigh: importance weights × (reward-to-go − baseline).  fit: nll with signed weights, all rows in
each optimizer step; from the second step on one batch the policy's own samples are an older one's,
too. Top-k and top-p are refused: μ, cut off elsewhere, would never say some of what π says, and no
weight can make up for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.minibatches import Minibatches
from fledge.algorithms.settings import AlgorithmSettings, Sampling
from fledge.errors import UserError
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.score.rollout_figures import drift
from fledge.score.scoring import kl_to, log_prob_in_pieces
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled, Trajectories, Weighed
from fledge.weigh import effective_sample_size, importance_weights, reward_to_go


class OffPolicy:
    class Settings(AlgorithmSettings):
        """Of REINFORCE off policy."""

        importance: Literal["trajectory", "decision"] = Field(
            default="decision",
            description=(
                "weights of the whole row, or of each reward by the decisions up to it, which "
                "vary less"
            ),
        )
        truncate_at: float | None = Field(
            default=None,
            gt=0,
            description="the largest importance weight, bias for variance; none: any",
        )
        baseline_value: float = Field(
            default=0.0, description="what a return is compared with, a constant"
        )
        gamma: float = Field(default=1.0, ge=0, le=1, description="discount per step")
        epochs: int = Field(
            default=1, ge=1, description="optimizer steps on each batch, with all its rows in each"
        )

        def sampling(self) -> Sampling:
            return Sampling(of_base=True)

        def count_updates(self, rows: int | None = None) -> tuple[int, int]:
            return self.epochs, self.epochs

    def __init__(
        self,
        policy: Policy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: Policy | None = None,
        kl: KLControl | None = None,
    ) -> None:
        """Raises UserError for a rule with top-k or top-p."""
        if isinstance(policy, TokenPolicy) and policy.rule.truncates:
            raise UserError(
                f"top_k={policy.rule.top_k}, top_p={policy.rule.top_p} were given: off-policy "
                "weights want a probability for every token under both policies. Give top_k=0, "
                "top_p=1 and min_p=0; the temperature is free."
            )
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or OffPolicy.Settings()
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.minibatches = Minibatches(*self.settings.count_updates(), kind=Sampled)

    @property
    def gradient_claim(self) -> str:
        s = self.settings
        if s.truncate_at is not None:
            return f"biased: importance weights end at {s.truncate_at:g}"
        if s.epochs > 1:
            return (
                "biased: from its second step on one batch the policy has been fitted to those "
                "samples"
            )
        if s.gamma != 1:
            return "biased: rewards are discounted from each step, not from the start"
        return "unbiased"

    @property
    def unfinished(self) -> Sampled | None:
        return self.minibatches.batch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """All optimizer steps on one batch of samples. `between_steps` is called after each: a good
        moment to save and stop.

        Raises UserError for samples without the log-probabilities of whoever acted.
        """
        if self.unfinished is None:
            if batch.logp is None:
                raise UserError(
                    "off-policy samples came without the log-probabilities of whoever acted: keep "
                    "them (`logp`)."
                )
            self.minibatches.begin(Sampled.of(batch).to(self.learner.device), {})
        figures = self.minibatches.run(self.fit, between_steps)
        self.kl.observe(figures["kl_k1"])
        return figures

    def fit(self, batch: Sampled) -> dict[str, float]:
        """One optimizer step."""
        with self.stopwatch.phase("score"):
            weight, reward, figures = self.score(batch)  # [B, T], [B, T]
        weighed = Weighed.of(batch, weight=self.weigh(batch, weight, reward))
        rows = self.learner.count_rows(weighed)

        def loss(part: Weighed) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            return total(nll(logp, part.weight), part.chosen, rows), {}

        with self.stopwatch.phase("fit"):
            return figures | self.learner.step(loss, weighed)

    def score(self, batch: Sampled) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The importance weight up to each step [B, T], and the reward with the KL penalty in it
        [B, T].

        drift: here the distance between the two policies, which may be as large as it likes.
        """
        logp = log_prob_in_pieces(self.policy, batch, self.learner)
        tokens = self.learner.count(batch.chosen)
        weight = importance_weights(logp, batch.logp, batch.chosen, self.settings.truncate_at)
        whole = weight[:, -1]  # [B]
        own = batch.replace(logp=logp)
        kl, figures = kl_to(self.reference, own, self.learner, whole)
        figures |= {
            "kl_coefficient": self.kl.beta,
            "effective_sample_size": effective_sample_size(whole),
            "drift": float(drift(logp, batch, tokens)),
            "entropy": self.entropy(own, weight),
        }
        return weight, batch.reward - self.kl.beta * kl, figures

    def entropy(self, batch: Sampled, weight: Tensor) -> float:
        """−log π of the samples, nats per token, weighted to what this policy would have
        sampled.
        """
        part, whole = (total(x, batch.chosen, 1.0) for x in (-weight * batch.logp, weight))
        return float(part / whole)

    def weigh(self, batch: Trajectories, weight: Tensor, reward: Tensor) -> Tensor:
        """[B, T]: Σ_{s≥t} w_s r_s − w_t b per decision; w (Σ_{s≥t} r_s − b) per trajectory."""
        ends = (batch.chosen, batch.terminated, batch.truncated, self.settings.gamma)
        if self.settings.importance == "decision":
            advantage = reward_to_go(weight * reward, *ends) - weight * self.settings.baseline_value
        else:
            advantage = weight[:, -1:] * (
                reward_to_go(reward, *ends) - self.settings.baseline_value
            )
        return torch.where(batch.chosen, advantage, 0.0)

    def state_dict(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "kl": self.kl, "minibatches": self.minibatches}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])
        self.minibatches.load_state_dict(state["minibatches"])
