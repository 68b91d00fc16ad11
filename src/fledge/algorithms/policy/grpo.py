"""GRPO: a completion is better or worse than the others to the same prompt; no critic.

sample: policy, in groups.  score: reward, β·k1.  weigh: (reward − group mean) / group std − β·(k1
    to go − group mean).
fit: clipped ratio.  Shao et al. 2024 (DeepSeekMath), eq. 3. The paper's KL is k3 in the loss, whose
gradient is that of the other direction; here k1 takes its place in the credit, beside the divided
reward, where its gradient is right: exactly at the first step on a batch. At later ones it is still
the old policy's k1, times the clipped ratio, as the reward is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from pydantic import Field, SkipValidation
from torch import Tensor

from fledge.algorithms.parts.minibatches import Minibatches, keep_rows
from fledge.algorithms.settings import Passes, Sampling
from fledge.fit import clipped_ratio, kl_k3, total
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.score.rollout_figures import drift, drift_is_small, sampled_entropy
from fledge.score.scoring import (
    ask_trainer,
    groups,
    kl_seen,
    kl_to,
    sum_rewards,
    use_trainer_logp,
    zero_spread_groups,
)
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled, Trajectories, WeighedSamples
from fledge.weigh import (
    difference,
    equal_in_group,
    group_mean,
    group_spread,
    log_ratio,
    overlong_penalty,
    reward_to_go,
    truncated_importance,
)

Average = Literal["row", "token", "sum"]


class Surrogate(Protocol):
    """What is minimised per step, and the ratio that it clips. A new algorithm is often only a new
    one of these.
    """

    def __call__(
        self,
        logp: Tensor,
        old_logp: Tensor,
        advantage: Tensor,
        chosen: Tensor,
        low: float,
        high: float,
    ) -> tuple[Tensor, Tensor]:
        """Each [B, T] -> loss [B, T], ratio [B, T]"""
        ...


def clipped_token_ratio(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, chosen: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """PPO's, token by token."""
    return clipped_ratio(logp, old_logp, advantage, low, high), log_ratio(
        logp, old_logp, chosen
    ).exp()


class GRPO:
    class Settings(Passes):
        """Of GRPO and of what differs from it in a setting."""

        clip_low: float = Field(
            default=0.2, gt=0, le=1, description="the ratio counts down to 1 − this"
        )
        clip_high: float = Field(default=0.2, gt=0, description="the ratio counts up to 1 + this")
        average: Average = Field(
            default="row",
            description=(
                "of the loss: over a row's tokens and then rows, over all tokens of the step, or "
                "over rows only (sum)"
            ),
        )
        divide_by_std: bool = Field(
            default=True, description="the advantage, by the spread within its group"
        )
        drop_equal_groups: bool = Field(
            default=False, description="groups that all earned the same do not count"
        )
        redraws: int = Field(
            default=0,
            ge=0,
            description=(
                "rounds in which prompts whose answers all earned the same give way to the next "
                "prompts (dynamic sampling)"
            ),
        )
        overlong_penalty: bool = Field(
            default=False,
            description="answers pay for the last fifth of max_new_tokens, the more the longer",
        )
        truncate_at: float | None = Field(
            default=None,
            gt=0,
            description=(
                "each token counts by how much likelier the policy makes it than whoever said it, "
                "at most so much; none: the samples are the policy's own"
            ),
        )
        length_buffer: int | None = Field(
            default=None, ge=1, exclude=True
        )  # tokens; None: that fifth
        surrogate: SkipValidation[Surrogate] = Field(default=clipped_token_ratio, exclude=True)

        def buffer(self, limit: int) -> int:
            """How many of an answer's last tokens cost."""
            return self.length_buffer or max(1, limit // 5)

        def sampling(self) -> Sampling:
            return Sampling(smallest_group=2, redraws=self.redraws)

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: Policy | None = None,
        kl: KLControl | None = None,
        length_limit: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """length_limit: tokens that an answer may have, before which `overlong_penalty` begins;
        None: it never does.
        """
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = s = settings or GRPO.Settings()
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.length_limit = length_limit if s.overlong_penalty else None
        self.minibatches = Minibatches(*s.count_updates(), generator, kind=WeighedSamples)

    @property
    def gradient_claim(self) -> str:
        s = self.settings
        length = {"row": ["the row's length"], "token": ["the number of tokens"], "sum": []}
        divisors = ["the group's standard deviation"] * s.divide_by_std + length[s.average]
        if divisors:
            verb = "divides" if len(divisors) == 1 else "divide"
            return f"biased: {' and '.join(divisors)} {verb}"
        if s.truncate_at is not None:
            return f"biased: importance weights of single tokens, which end at {s.truncate_at:g}"
        if s.drop_equal_groups or self.length_limit is not None:
            return "biased: groups are dropped or lengths punished"
        return "unbiased up to scale (G-1)/G"

    @property
    def unfinished(self) -> WeighedSamples | None:
        return self.minibatches.batch

    @property
    def penalised(self) -> bool:
        return self.reference is not None and self.kl.beta != 0

    @property
    def one_step(self) -> bool:
        """Then the old policy is the one that learns, and says what it thought of the samples while
        it does.
        """
        return self.minibatches.steps == 1

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """All optimizer steps on one batch of samples."""
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                batch = batch.to(self.learner.device)
                samples, kl, figures = self.score(batch)
                weighed = self.weigh(samples, kl, self.weigh_importance(samples, batch))
            self.minibatches.begin(weighed, figures)
        with self.stopwatch.phase("fit"):
            figures = self.minibatches.run(self.fit, between_steps)
        self.kl.observe(figures["kl_k1"])
        return figures

    def score(self, batch: Trajectories) -> tuple[Sampled, Tensor, dict[str, float]]:
        """The batch with the old policy's log-probabilities, and log π/π_ref per step [B, T], 0
        where no gradient wants it.
        """
        figures: dict[str, float] = {}
        if self.settings.truncate_at is not None and batch.logp is not None:
            samples, figures = ask_trainer(self.policy, batch, self.learner)
        elif self.penalised or not self.one_step or batch.logp is None:
            samples, figures = use_trainer_logp(self.policy, batch, self.learner)
        else:
            samples = Sampled.of(batch)
            figures["entropy"] = sampled_entropy(batch.logp, batch.chosen, self.learner)
        if self.penalised:
            kl, distance = kl_to(self.reference, samples, self.learner)
        else:
            kl, distance = (
                torch.zeros_like(batch.reward),
                kl_seen(self.policy, self.reference, batch, self.learner),
            )
        spread = {
            "zero_spread_groups": zero_spread_groups(batch),
            "kl_coefficient": self.kl.beta,
        }
        return samples, kl, figures | distance | spread

    def weigh_importance(self, samples: Sampled, batch: Trajectories) -> Tensor | float:
        """What each step counts [B, T], where another policy may have said it. samples: with the
        policy's log-probabilities, batch: with those of whoever acted.
        """
        cap = self.settings.truncate_at
        if cap is None or batch.logp is None:
            return 1.0
        return truncated_importance(samples.logp, batch.logp, batch.chosen, cap)

    def weigh(self, batch: Sampled, kl: Tensor, importance: Tensor | float = 1.0) -> WeighedSamples:
        """With the advantage of every step, times its importance, as its `weight`; the KL is not
        divided, so β keeps its meaning in every group.
        """
        group, reward = groups(batch), sum_rewards(batch)  # [B], [B]
        ends = (batch.chosen, batch.terminated, batch.truncated)
        late = torch.zeros_like(reward)  # [B]
        if self.length_limit is not None:
            buffer = self.settings.buffer(self.length_limit)
            length = batch.chosen.sum(1)
            late = overlong_penalty(length, self.length_limit, buffer).to(reward.dtype)
        worth = reward + late
        advantage = difference(
            reward_to_go(batch.reward, *ends) + late[:, None], group_mean(worth, group)[:, None]
        )
        if self.settings.divide_by_std:
            # Asked of the numbers themselves: the spread of equal ones is a rounding error, and
            # dividing by it would make it 1.
            flat = equal_in_group(worth, group)
            advantage = advantage / torch.where(flat, 1.0, group_spread(worth, group))[:, None]
        distance = reward_to_go(kl, *ends) - group_mean(kl.sum(1), group)[:, None]
        credit = importance * (advantage - self.kl.beta * distance)
        weight = torch.where(batch.chosen, credit, 0.0)
        weighed = WeighedSamples.of(batch, weight=weight)
        if self.settings.drop_equal_groups:
            weighed = keep_rows(
                weighed, ~equal_in_group(reward, group), at_least=self.minibatches.pieces
            )
        return weighed

    def fit(self, batch: WeighedSamples) -> dict[str, float]:
        """One optimizer step."""
        s = self.settings
        rows, tokens = self.learner.count(batch.chosen.any(1)), self.learner.count(batch.chosen)

        def loss(part: WeighedSamples) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            old_logp = logp.detach() if self.one_step else part.logp
            each, ratio = s.surrogate(
                logp, old_logp, part.weight, part.chosen, s.clip_low, s.clip_high
            )
            outside = ((ratio < 1 - s.clip_low) | (ratio > 1 + s.clip_high)).float()
            marks = {
                "clip_fraction": total(outside, part.chosen, tokens),
                "policy_kl": total(kl_k3(old_logp, logp.detach()), part.chosen, tokens),
            }
            if self.one_step and not self.penalised and s.truncate_at is None:
                marks["drift"] = drift(logp, part, tokens)
            if s.average == "row":
                each = each / part.chosen.sum(1, keepdim=True).clamp(min=1)
            return total(each, part.chosen, tokens if s.average == "token" else rows), marks

        return self.learner.step(loss, batch, check=drift_is_small)

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


# Liu et al. 2025, "Understanding R1-Zero-Like Training", §3.2: neither division. Their constant,
# the generation budget, is 1 here: it only scales the learning rate.
DR_GRPO = GRPO.Settings(divide_by_std=False, average="sum")

# Yu et al. 2025, eqs. 8–13. The mean is over all tokens of the step; eq. 8 divides within each
# prompt. Their L_max is max_new_tokens, the buffer a fifth of it, as theirs. Groups without
# spread even after dynamic sampling are dropped.
DAPO = GRPO.Settings(
    average="token",
    clip_low=0.2,
    clip_high=0.28,
    drop_equal_groups=True,
    overlong_penalty=True,
    redraws=3,
)
