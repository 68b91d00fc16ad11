"""EM for reasoning: imitate your own correct answers; log p(o=1|x), the log-probability of being
right, is what rises.

sample: policy, in groups.  score: p(o=1|x,y), the success of each answer.  weigh (E-step): q(y|x) ∝
p(o=1|x,y)·π(y|x), which for samples of π is each row's share of its group's success.  fit (M-step):
nll, Σ_y q(y|x)·(−log π(y|x)), mean over prompts. Singh et al. 2024 (ReST-EM), §3; Dayan & Hinton
1997. Prompts without any success have no posterior and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.minibatches import Minibatches, keep_rows
from fledge.algorithms.settings import Passes, Sampling
from fledge.errors import UserError
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import Policy, TokenPolicy
from fledge.sample.hints import HINT
from fledge.score.kl_control import KLControl
from fledge.score.scoring import (
    groups,
    kl_to,
    log_prob_in_pieces,
    mean_over_groups,
    sum_rewards,
    use_trainer_logp,
    zero_spread_groups,
)
from fledge.stopwatch import Stopwatch
from fledge.trained_state import load_trained_state, trained_state
from fledge.trajectories import Sampled, Trajectories, WeighedSamples
from fledge.weigh import effective_sample_size, group_max, group_mean, share_in_group


class ExpectationMaximisation:
    gradient_claim = "biased: it climbs log p(o=1|x), not the reward"

    class Settings(Passes):
        """Of EM for reasoning."""

        keep: Literal["correct", "posterior", "best"] = Field(
            default="correct",
            description=(
                "the right answers, all in proportion to their reward, or the best of the right "
                "ones in each group"
            ),
        )
        threshold: float | None = Field(
            default=1.0, description="the reward from which an answer is right; none: any"
        )
        restart_from_base: bool = Field(
            default=False,
            description="each M-step begins at the base's weights, with the whole of the schedule",
        )
        hint: str | None = Field(
            default=None,
            description=(
                "how a prompt without a right answer is asked again, such as {prompt} ({answer}); "
                "none: it is not"
            ),
        )

        def sampling(self) -> Sampling:
            # The best of one answer, whatever it is worth, would be every answer.
            alone = self.keep != "best" or self.threshold is not None
            return Sampling(1 if alone else 2, hint=self.hint, threshold=self.least)

        @property
        def least(self) -> float:
            """The reward from which an answer is right."""
            return -math.inf if self.threshold is None else self.threshold

        @property
        def restarts(self) -> bool:
            return self.restart_from_base

        def usual(self, rows: int | None) -> tuple[int, int]:
            # An M-step that begins at the base has the policy as its result: in one optimizer
            # step, as others make on a batch, it learns nothing.
            return (8, 4) if self.restart_from_base else (1, 1)

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
        """With `restart_from_base` each M-step starts from the weights that this object was made
        with; where nothing was right there is none, and the policy stays as it is.

        The KL to the reference is measured, not punished: EM has no such term, and β changes
        nothing.
        """
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or ExpectationMaximisation.Settings()
        self.reference, self.kl = reference, kl or KLControl(0.0)
        self.minibatches = Minibatches(
            *self.settings.count_updates(), generator, kind=WeighedSamples
        )
        self.base = None
        if self.settings.restart_from_base:
            self.base = {
                name: value.clone() for name, value in trained_state(learner.module).items()
            }

    @property
    def unfinished(self) -> WeighedSamples | None:
        return self.minibatches.batch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One E-step, and all optimizer steps of the M-step."""
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                samples, success, figures = self.score(batch.to(self.learner.device))
            kept, figures = self.weigh(samples, success, figures)
            self.minibatches.begin(kept, figures)
            if self.base is not None and self.minibatches.figures["kept"]:
                load_trained_state(self.learner.module, self.base)
                self.learner.restart()
        else:
            kept = self.unfinished
        with self.stopwatch.phase("fit"):
            figures = self.minibatches.run(self.fit, between_steps)
        with self.stopwatch.phase("score"):
            if "log_success" in figures:
                figures["bound"] = figures["log_success"] + self.gain(kept)
        return figures

    def score(self, batch: Trajectories) -> tuple[Sampled, Tensor, dict[str, float]]:
        """The batch, and p(o=1|x,y) of each row [B]."""
        samples, figures = use_trainer_logp(self.policy, batch, self.learner)
        figures |= kl_to(self.reference, samples, self.learner)[1]
        figures["zero_spread_groups"] = zero_spread_groups(batch)
        reward = sum_rewards(batch)
        if self.settings.keep == "posterior":
            if bool((reward < 0).any()):
                raise UserError(
                    f"a reward of {float(reward.min()):g} is no probability: keep=posterior wants "
                    "0 or more."
                )
            return samples, reward, figures
        right = reward >= self.settings.least
        if self.settings.keep == "best":
            right &= reward == group_max(reward, groups(batch))
        return samples, right.to(reward.dtype), figures

    def weigh(
        self, batch: Sampled, success: Tensor, figures: dict[str, float]
    ) -> tuple[WeighedSamples, dict[str, float]]:
        """The rows of the posterior, with their mean weight 1; log_success: log of the group's mean
        success, over groups that had one.

        Where none had, there is no such figure: 0 would say that everything succeeded.
        """
        group = groups(batch)
        posterior = share_in_group(success, group)  # [B], adds up to 1 in each group
        kept = posterior > 0
        solved, rows = posterior.sum(), kept.sum().to(posterior.dtype)
        alive = solved.clamp(min=1)
        mean = group_mean(success, group)
        log_mean = torch.where(kept, mean.log(), 0.0)
        log_success = float((posterior * log_mean).sum() / alive)
        figures = figures | ({"log_success": log_success} if solved else {})
        figures |= {
            "unsolved_groups": mean_over_groups((mean == 0).double(), group),
            "kept": float(rows / self.learner.count_rows(batch)),
            "effective_sample_size": effective_sample_size(posterior),
        }
        weight = (posterior * rows / alive)[:, None].expand_as(batch.reward)
        weighed = WeighedSamples.of(batch, weight=weight)
        return keep_rows(weighed, kept, at_least=self.minibatches.pieces), figures

    def fit(self, batch: WeighedSamples) -> dict[str, float]:
        """One optimizer step of the M-step. A row's weight is on its whole log π(y): the mean is
        over rows, the sum over tokens.
        """
        rows = self.learner.count(batch.chosen.any(1))

        def loss(part: WeighedSamples) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            return total(nll(logp, part.weight), part.chosen, rows), {}

        return self.learner.step(loss, batch)

    def gain(self, kept: WeighedSamples) -> float:
        """Σ_y q(y|x)·(log π_new − log π_old)(y|x), mean over prompts: by so much the bound on log
        p(o=1|x) rose above log_success.
        """
        kept = kept.to(self.learner.device)
        rose = kept.weight * (log_prob_in_pieces(self.policy, kept, self.learner) - kept.logp)
        return float(total(rose, kept.chosen, 1.0) / self.learner.count(kept.chosen.any(1)))

    def state_dict(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "kl": self.kl, "minibatches": self.minibatches}
        return {name: part.state_dict() for name, part in parts.items()} | {"base": self.base}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in {
            "learner": self.learner,
            "kl": self.kl,
            "minibatches": self.minibatches,
        }.items():
            part.load_state_dict(state[name])
        self.base = None if state["base"] is None else dict(state["base"])


# The best of the group whatever it is worth, as with a reward model, whose scores have no
# threshold.
BEST_OF_N = ExpectationMaximisation.Settings(keep="best", threshold=None)

# Singh et al. 2024, §3: the M-step starts from the base model each time.
REST_EM = ExpectationMaximisation.Settings(restart_from_base=True)

# Zelikman et al. 2022, algorithm 1: from the base model each time, too; a prompt that nobody
# answered is asked again with its answer.
STAR = ExpectationMaximisation.Settings(restart_from_base=True, hint=HINT)
