"""REINFORCE: raise the log-probability of what was done by how much better than expected it was.

sample: policy.  score: reward − β·log(π/π_ref).  weigh: reward-to-go − baseline.  fit: nll with signed weights.
Williams 1992; the leave-one-out baseline is Kool et al. 2019. The loss is a mean over rows, a sum over steps: its gradient is
the gradient of the expected return, unbiased but for `group`, which scales it by (G−1)/G, and `batch`, by (B−1)/B. `optimal` is
b* = E[‖g‖² r]/E[‖g‖²], the constant of least variance (Greensmith et al. 2004), estimated from the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from fledge.algorithms.kl_control import KLControl
from fledge.algorithms.rollout_figures import drift, drift_is_small, sampled_entropy
from fledge.algorithms.scoring import groups, kl_to, log_prob_in_pieces
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import group_mean, leave_one_out_mean, reward_to_go

Baseline = Literal["none", "constant", "batch", "group", "leave_one_out", "optimal"]


class Reinforce:
    gradient_claim = "unbiased"
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
        baseline_value: float = 0.0,
        gamma: float = 1.0,
    ) -> None:
        """baseline_value: of the `constant` baseline."""
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.baseline: Baseline = baseline
        self.baseline_value, self.gamma = baseline_value, gamma
        if gamma != 1:
            self.gradient_claim = "biased: rewards are discounted from each step, not from the start"
        elif baseline in ("group", "batch"):
            self.gradient_claim = f"unbiased up to scale {'(G-1)/G' if baseline == 'group' else '(B-1)/B'}"

    def update(self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None) -> dict[str, float]:
        batch = batch.to(self.learner.device)
        with self.stopwatch.phase("score"):
            reward, distance = self.score(batch)  # reward [B, T]
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
            figures |= self.learner.step(loss, batch, check=drift_is_small)
        figures |= distance | {"kl_coefficient": self.kl.beta}
        self.kl.observe(figures["kl"])
        return figures

    def score(self, batch: Trajectories) -> tuple[Tensor, dict[str, float]]:
        """The reward with the KL penalty in it, per step [B, T], and the two estimates of the KL of `kl_to`."""
        if self.reference is not None and (batch.logp is None or self.learner.precision != "fp32"):
            # Both sides of the KL from the trainer: in bfloat16 too a policy is at distance 0 from itself. In fp32 the engine's
            # numbers are the trainer's, and a forward pass is saved.
            batch = batch.with_(logp=log_prob_in_pieces(self.policy, batch, self.learner))
        kl, distance = kl_to(self.reference, batch, self.learner)
        return batch.reward - self.kl.beta * kl, distance

    def weigh(self, batch: Trajectories, reward: Tensor) -> Tensor:
        """Reward-to-go minus the baseline.  [B, T]"""
        back = reward_to_go(reward, batch.chosen, batch.terminated, batch.truncated, self.gamma)  # [B, T]
        score = torch.where(batch.chosen, reward, 0.0).sum(1)  # [B]: what the whole row earned
        group = groups(batch)
        if self.baseline == "leave_one_out":
            expected = leave_one_out_mean(score, group)
        elif self.baseline == "optimal":
            size = score_norm(self.policy, batch, self.learner)  # [B]
            expected = leave_one_out_mean(size * score, group) / leave_one_out_mean(size, group).clamp(min=1e-12)
        elif self.baseline == "group":
            expected = group_mean(score, group)
        elif self.baseline == "batch":
            expected = (self.learner.sum(score.sum()) / self.learner.count_rows(batch)).to(score.dtype).expand_as(score)
        else:
            expected = torch.full_like(score, self.baseline_value if self.baseline == "constant" else 0.0)
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


@torch.no_grad()
def score_norm(policy: TokenPolicy, batch: Trajectories, learner: Learner) -> Tensor:
    """‖∇ log π(y)‖² with respect to the logits of each step, Σ_t ‖e_{a_t} − p_t‖² = Σ_t (1 − 2 p_t(a_t) + Σ_v p_t(v)²).  -> [B]

    The norm with respect to all parameters would take a backward pass for every row.
    """
    found = torch.zeros(batch.chosen.shape, dtype=batch.reward.dtype, device=batch.reward.device)  # [B, T]
    size = learner.rows_per_micro_batch or len(batch)
    for a in range(0, len(batch), size):
        part = batch[a : a + size]
        with learner.autocast():
            hidden = policy.hidden(part.obs[:, :-1])[part.chosen]  # [N, D]
            pieces = zip(hidden.split(policy.chunk), part.action[part.chosen].split(policy.chunk), strict=True)
            norms = [_distance_to_action(policy.logits(h, keep=a).softmax(-1), a) for h, a in pieces]
        found[a : a + size][part.chosen] = torch.cat(norms).to(found.dtype)
    return found.sum(1)


def _distance_to_action(p: Tensor, action: Tensor) -> Tensor:
    """‖p − e_a‖².  [N, V], [N] -> [N]"""
    return p.scatter_add(-1, action[:, None], -torch.ones_like(p[:, :1])).square().sum(-1)


# Ahmadian et al. 2024, "Back to Basics".
rloo = partial(Reinforce, baseline="leave_one_out")
