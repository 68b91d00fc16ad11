"""DPO: the policy is its own reward model, r(x, y) = β·log π/π_ref, and learns from pairs what a
reward model would.

sample: pairs.  score: log-probability under the reference.  weigh: – (or a weight per pair).  fit:
    pairwise logistic on log π/π_ref.
DPO: Rafailov et al. 2023, eq. 7; its optimum, where preferences are Bradley–Terry in r, is
π_ref·exp(r/β)/Z (eq. 4). IPO: Azar et al. 2024, eq. 17, a square in place of the logistic: with
both answers drawn from μ its optimum is π_ref·exp(p(y ≻ μ)/β)/Z (section 5), which stays near the
reference also where every pair is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, SkipValidation
from torch import Tensor

from fledge.algorithms.settings import AlgorithmSettings
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.preference_losses import dpo, ipo
from fledge.score.reference import Referred, answer_logp, refer
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs

PairLoss = Callable[[Tensor, Tensor, float], Tensor]  # log π/π_ref of both answers [B], β -> [B]


@dataclass(frozen=True)
class WeighedPairs(Pairs):
    """Pairs that count more or less often than once."""

    weight: Tensor  # [B]


@dataclass(frozen=True)
class ReferredPairs(WeighedPairs):
    """Beside which stands what the reference says of them."""

    preferred: Referred
    rejected: Referred


class DPO:
    unfinished = None  # an update is one optimizer step

    class Settings(AlgorithmSettings):
        """Of DPO and IPO."""

        beta: float = Field(default=0.1, gt=0, description="β: how dear it is to leave the base")
        loss: SkipValidation[PairLoss] = Field(default=dpo, exclude=True)

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: TokenPolicy,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings, self.reference = settings or DPO.Settings(), reference

    def update(
        self, batch: Pairs, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step; none where no pair counts, as WeighedPairs may say."""
        with self.stopwatch.phase("score"):
            referred = refer_pairs(self.reference, batch, self.learner)
        beta, pair_loss = self.settings.beta, self.settings.loss
        count = referred.weight.double().sum()
        if not count:
            return self.learner.skip()

        def loss(pairs: ReferredPairs) -> tuple[Tensor, Mapping[str, Tensor]]:
            preferred, rejected = pairs.preferred, pairs.rejected
            preferred_logp = answer_logp(self.policy, preferred)  # [B]
            rejected_logp = answer_logp(self.policy, rejected)  # [B]
            preferred_ratio = preferred_logp - preferred.reference_answer
            rejected_ratio = rejected_logp - rejected.reference_answer
            weight = pairs.weight / count
            marks = pair_figures(
                preferred_logp,
                rejected_logp,
                beta * (preferred_ratio - rejected_ratio),
                weight,
            )
            marks["preferred_log_ratio"] = (weight * preferred_ratio).sum()
            return (weight * pair_loss(preferred_ratio, rejected_ratio, beta)).sum(), marks

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, referred)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


IPO = DPO.Settings(loss=ipo)


def refer_pairs(reference: TokenPolicy, pairs: Pairs, learner: Learner) -> ReferredPairs:
    """The pairs beside what the reference says of both answers; each counts once, if it does not
    say how often.
    """
    preferred, rejected = (
        refer(reference, side, learner) for side in (pairs.preferred, pairs.rejected)
    )
    if isinstance(pairs, WeighedPairs):
        weight = pairs.weight.to(learner.device)
    else:
        weight = torch.ones(len(pairs), device=learner.device)
    return ReferredPairs(preferred, rejected, weight)


def pair_figures(
    preferred_logp: Tensor, rejected_logp: Tensor, gap: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    """Shares of the figures that every loss on pairs reports; a tie is half right.  [B] each, the
    weights divided by the count
    """
    right = (gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype)
    return {
        "pair_accuracy": (weight * right).sum(),
        "reward_gap": (weight * gap).sum(),
        "preferred_logp": (weight * preferred_logp).sum(),
        "rejected_logp": (weight * rejected_logp).sum(),
    }
