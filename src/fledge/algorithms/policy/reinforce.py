"""REINFORCE: raise the log-probability of what was done by how much better than expected it was.

sample: policy.  score: reward − β·log(π/π_ref).  weigh: reward-to-go − baseline.  fit: nll with
signed weights. Williams 1992; the leave-one-out baseline is Kool et al. 2019. The loss is a mean
over rows, a sum over steps: its gradient is the gradient of the expected return, unbiased but for
`group`, which scales it by (G−1)/G, and `batch`, by (B−1)/B. `optimal` is b* = E[‖g‖² r]/E[‖g‖²],
the constant of least variance (Greensmith et al. 2004), estimated from the other rows. `value` is a
critic's V(s_t), learned beside the policy; where time cuts an episode off, it also says what would
have come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.judged import Judged
from fledge.algorithms.policy.ppo import PolicyWithCritic
from fledge.algorithms.settings import AlgorithmSettings, Sampling
from fledge.fit import nll, total, value_error
from fledge.learner import Learner
from fledge.policy import Policy
from fledge.score.kl_control import KLControl
from fledge.score.rollout_figures import drift, drift_is_small, sampled_entropy
from fledge.score.scoring import groups, kl_to, log_prob_in_pieces, no_kl
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled, Trajectories, Weighed
from fledge.weigh import difference, gae, group_mean, leave_one_out_mean, reward_to_go

Baseline = Literal["none", "constant", "batch", "group", "leave_one_out", "optimal", "value"]


class Scored(Policy, Protocol):
    """A policy that knows how much a step would move it."""

    def score_norm(self, obs: Tensor, action: Tensor, chosen: Tensor) -> Tensor:
        """‖∇ log π(a_t|s_t)‖² with respect to the numbers that make the distribution, 0 where not
        chosen.  [B, T+1, *O] … -> [B, T]
        """
        ...


class Reinforce:
    # one optimizer step per batch, as the estimator asks: the samples are the current policy's
    unfinished = None

    class Settings(AlgorithmSettings):
        """Of REINFORCE."""

        baseline: Baseline = Field(
            default="leave_one_out",
            description="what a return is compared with; value: what a critic foretells",
        )
        baseline_value: float = Field(default=0.0, description="that of baseline=constant")
        gamma: float = Field(default=1.0, ge=0, le=1, description="discount per step")
        value_coefficient: float = Field(
            default=0.5, ge=0, description="baseline=value: of the critic's error in the loss"
        )

        def sampling(self) -> Sampling:
            compares = self.baseline in ("leave_one_out", "optimal")
            return Sampling(smallest_group=2 if compares else 1)

    class InTexts(Settings):
        """Of REINFORCE, where no critic learns beside the policy."""

        baseline: Literal["none", "constant", "batch", "group", "leave_one_out", "optimal"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
            default="leave_one_out",
            description="what a return is compared with; a critic's values are ppo's",
        )
        value_coefficient: float = Field(default=0.0, exclude=True)

    def __init__(
        self,
        policy: Scored,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: Policy | None = None,
        actor_critic: PolicyWithCritic | None = None,
        kl: KLControl | None = None,
        sampled_in_fp32: bool = False,
    ) -> None:
        """actor_critic: the policy together with the critic of baseline="value".

        sampled_in_fp32: the samples' log-probabilities are what a trainer in float32 would find,
            which saves a forward pass of the KL.
        """
        self.settings = settings or Reinforce.Settings()
        if (actor_critic is None) == (self.settings.baseline == "value"):
            raise ValueError(
                f"baseline={self.settings.baseline!r} and actor_critic={actor_critic}: a critic "
                "belongs to baseline='value'."
            )
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.actor_critic, self.sampled_in_fp32 = actor_critic, sampled_in_fp32
        self.reference, self.kl = reference, kl or KLControl(0.0)

    @property
    def gradient_claim(self) -> str:
        s = self.settings
        if s.gamma != 1:
            return "biased: rewards are discounted from each step, not from the start"
        if s.baseline == "value":
            return (
                "biased: where time cuts an episode off, a learned critic says what would have come"
            )
        if s.baseline in ("group", "batch"):
            return f"unbiased up to scale {'(G-1)/G' if s.baseline == 'group' else '(B-1)/B'}"
        return "unbiased"

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        batch = batch.to(self.learner.device)
        with self.stopwatch.phase("score"):
            reward, distance = self.score(batch)  # reward [B, T]
            weighed = self.weigh(batch, reward)
        rows = self.learner.count_rows(batch)
        figures: dict[str, float] = {}
        if batch.logp is not None:
            figures["entropy"] = sampled_entropy(batch.logp, batch.chosen, self.learner)
        # of all rows: what a critic foretold to the last place counts as well
        tokens = self.learner.count(batch.chosen)
        weighed = keep_rows_with_gradient(weighed)
        scored = self.learner.count(weighed.chosen)

        def loss(part: Weighed) -> tuple[Tensor, Mapping[str, Tensor]]:
            if self.actor_critic is not None and isinstance(part, Judged):
                return loss_of_both(self.actor_critic, part)
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            marks = {"drift": drift(logp, part, scored)}
            return total(nll(logp, part.weight), part.chosen, rows), marks

        def loss_of_both(
            actor_critic: PolicyWithCritic, part: Judged
        ) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp, _, value = actor_critic.evaluate(part.obs[:, :-1], part.action, part.chosen)
            value_loss = total(value_error(value, part.target), part.chosen, tokens)
            policy_loss = total(nll(logp, part.weight), part.chosen, rows)
            marks = {
                "drift": drift(logp, part, scored),
                "policy_loss": policy_loss,
                "value_loss": value_loss,
            }
            return policy_loss + self.settings.value_coefficient * value_loss, marks

        with self.stopwatch.phase("fit"):
            figures |= self.learner.step(loss, weighed, check=drift_is_small)
        figures |= distance | {"kl_coefficient": self.kl.beta}
        self.kl.observe(figures["kl_k1"])
        return figures

    def score(self, batch: Trajectories) -> tuple[Tensor, dict[str, float]]:
        """The reward with the KL penalty in it, per step [B, T], and the two estimates of the KL of
        `kl_to`.
        """
        if self.reference is None:
            kl, distance = no_kl(batch)
        else:
            kl, distance = kl_to(self.reference, self._ask_policy(batch), self.learner)
        return batch.reward - self.kl.beta * kl, distance

    def _ask_policy(self, batch: Trajectories) -> Sampled:
        """The batch with what the policy thinks of it."""
        exact = self.sampled_in_fp32 and self.learner.precision == "fp32"
        if batch.logp is not None and exact:
            return Sampled.of(batch)
        # Both sides of the KL from the trainer: in every precision a policy is at distance 0
        # from itself.
        return Sampled.of(batch, logp=log_prob_in_pieces(self.policy, batch, self.learner))

    @torch.no_grad()
    def weigh(self, batch: Trajectories, reward: Tensor) -> Weighed:
        """The batch with reward-to-go minus the baseline as its `weight`, and the critic's `target`
        where there is one. reward [B, T]

        A baseline is made of what whole rows earned, discounted from their first step: late in a
        row, where less is to come, it is too high, which is noise and no bias.
        """
        ends = (batch.chosen, batch.terminated, batch.truncated)
        if self.actor_critic is not None:
            value = self.actor_critic.evaluate(batch.obs, batch.action, batch.chosen)[2]  # [B, T+1]
            advantage, target = gae(reward, value, *ends, self.settings.gamma, 1.0)
            return Judged.of(batch, weight=advantage, target=target)
        back = reward_to_go(reward, *ends, self.settings.gamma)  # [B, T]
        # [B], at the first step of each row
        score = back.gather(1, batch.chosen.int().argmax(1, keepdim=True)).squeeze(1)
        group = groups(batch)
        if self.settings.baseline == "leave_one_out":
            expected = leave_one_out_mean(score, group)
        elif self.settings.baseline == "optimal":
            size = score_norm(self.policy, batch, self.learner)  # [B]
            others = leave_one_out_mean(size, group)
            weighted = leave_one_out_mean(size * score, group) / torch.where(
                others > 0, others, 1.0
            )
            expected = torch.where(others > 0, weighted, leave_one_out_mean(score, group))
        elif self.settings.baseline == "group":
            expected = group_mean(score, group)
        elif self.settings.baseline == "batch":
            rows = self.learner.count_rows(batch)
            rough = (score.sum() / rows).to(score.dtype)
            corrected = rough + (score - rough).sum() / rows
            expected = corrected.to(score.dtype).expand_as(score)
        else:
            expected = torch.full_like(
                score, self.settings.baseline_value if self.settings.baseline == "constant" else 0.0
            )
        weight = torch.where(batch.chosen, difference(back, expected[:, None]), 0.0)
        return Weighed.of(batch, weight=weight)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "kl": self.kl.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])


def keep_rows_with_gradient(batch: Weighed) -> Weighed:
    """The rows with an advantage anywhere. The others, which earned exactly what was expected,
    would add zeros to the gradient.

    Keeps the first row of a batch without any: a step needs rows to say that it was none.
    """
    rows = (batch.weight != 0).any(1).nonzero().squeeze(1)
    return batch[rows if len(rows) else slice(1)]


@torch.no_grad()
def score_norm(policy: Scored, batch: Trajectories, learner: Learner) -> Tensor:
    """‖∇ log π(y)‖² with respect to the numbers that make each step's distribution, Σ_t of
    `Scored.score_norm`.  -> [B]

    The norm with respect to all parameters would take a backward pass for every row.
    """

    def ask(part: Trajectories) -> list[Tensor]:
        return [policy.score_norm(part.obs, part.action, part.chosen).sum(1)]

    with learner.autocast():
        return learner.map(ask, batch)[0].to(batch.reward.dtype)


# Ahmadian et al. 2024, "Back to Basics".
RLOO = Reinforce.InTexts(baseline="leave_one_out")
