"""REINFORCE: raise the log-probability of what was done by how much better than expected it was.

sample: policy.  score: reward − β·log(π/π_ref).  weigh: reward-to-go − baseline.  fit: nll with signed weights.
Williams 1992; the leave-one-out baseline is Kool et al. 2019. The loss is a mean over rows, a sum over steps: its gradient is
the gradient of the expected return, unbiased for `none` and `leave_one_out`; `group` scales it by (G−1)/G, `batch` by (B−1)/B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from fledge.algorithms.kl_control import KLControl
from fledge.algorithms.rollout_figures import check_drift, drift, sampled_entropy
from fledge.fit import kl_k1, nll, total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import group_mean, leave_one_out_mean, reward_to_go

Baseline = Literal["none", "batch", "group", "leave_one_out"]


class Reinforce:
    unfinished = None  # one optimizer step per batch, as the estimator asks: the samples are the current policy's

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        *,
        reference: TokenPolicy | None = None,
        kl: KLControl | None = None,
        baseline: Baseline = "leave_one_out",
        gamma: float = 1.0,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.baseline: Baseline = baseline
        self.gamma = gamma

    def update(self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None) -> dict[str, float]:
        batch = batch.to(self.learner.device)
        with self.stopwatch.phase("score"):
            reward, kl = self.score(batch)  # [B, T], [B]
        advantage = self.weigh(batch, reward)  # [B, T]
        rows = self.learner.count_rows(batch)
        figures = {"entropy": sampled_entropy(batch, self.learner)} if batch.logp is not None else {}
        batch = with_a_gradient(batch.with_(weight=advantage))
        tokens = self.learner.count(batch.chosen)

        def loss(part: Trajectories) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            assert part.weight is not None
            return total(nll(logp, part.weight), part.chosen, rows), {"drift": drift(logp, part, tokens)}

        with self.stopwatch.phase("fit"):
            figures |= self.learner.step(loss, batch)
        check_drift(figures["drift"])
        figures |= {"kl": float(self.learner.sum(kl.sum()) / rows), "kl_coefficient": self.kl.beta}
        self.kl.observe(figures["kl"])
        return figures

    @torch.no_grad()
    def score(self, batch: Trajectories) -> tuple[Tensor, Tensor]:
        """The reward with the KL penalty in it, per step [B, T], and the completion's k1 estimate of the KL [B]."""
        if self.reference is None or batch.logp is None:
            return batch.reward, batch.reward.new_zeros(len(batch))
        with self.learner.autocast():
            reference = self.reference.log_prob(batch.obs, batch.action, batch.chosen)
        kl = torch.where(batch.chosen, kl_k1(batch.logp, reference), 0.0)  # [B, T]
        return batch.reward - self.kl.beta * kl, kl.sum(1)

    def weigh(self, batch: Trajectories, reward: Tensor) -> Tensor:
        """Reward-to-go minus the baseline.  [B, T]"""
        back = reward_to_go(reward, batch.chosen, batch.terminated, batch.truncated, self.gamma)  # [B, T]
        score = torch.where(batch.chosen, reward, 0.0).sum(1)  # [B]: what the whole row earned
        group = (
            batch.group if batch.group is not None else torch.zeros(len(batch), dtype=torch.long, device=reward.device)
        )
        if self.baseline == "leave_one_out":
            expected = leave_one_out_mean(score, group)
        elif self.baseline == "group":
            expected = group_mean(score, group)
        elif self.baseline == "batch":
            expected = (self.learner.sum(score.sum()) / self.learner.count_rows(batch)).to(score.dtype).expand_as(score)
        else:
            expected = torch.zeros_like(score)
        return torch.where(batch.chosen, back - expected[:, None], 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "kl": self.kl.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.kl.load_state_dict(state["kl"])


def with_a_gradient(batch: Trajectories) -> Trajectories:
    """The rows with an advantage anywhere. The others, which earned exactly what was expected, would add zeros to the gradient.

    Keeps the first row of a batch without any, so that the optimizer makes its step.
    """
    assert batch.weight is not None
    rows = (batch.weight != 0).any(1).nonzero().squeeze(1)
    return batch[rows if len(rows) else slice(1)]
