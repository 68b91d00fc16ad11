"""KTO: answers that are wanted or not, one by one; each is worth its log π/π_ref above a reference
point, and less the further off.

sample: answers with a verdict (a positive reward: wanted).  score: log-probability under the
    reference.  weigh: λ_D or λ_U.
fit: λ_y − v(x, y) (Ethayarajh et al. 2024, eq. 8). The reference point z₀ = max(0, mean log π/π_ref
of mismatched answers), section 4.1's estimate of KL(π‖π_ref), is taken once per batch and has no
gradient. Mismatched: each prompt with the answer to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.preference_losses import kto
from fledge.score.reference import Referred, answer_logp, refer
from fledge.score.scoring import sum_rewards
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, from_rows


class KTO:
    unfinished = None

    class Settings(AlgorithmSettings):
        """Of KTO."""

        beta: float = Field(default=0.1, gt=0, description="β: how dear it is to leave the base")
        desirable_weight: float = Field(
            default=1.0, ge=0, description="λ_D, of the preferred answers"
        )
        undesirable_weight: float = Field(
            default=1.0, ge=0, description="λ_U, of the rejected ones"
        )

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: TokenPolicy,
    ) -> None:
        if policy.rule.truncates:
            raise UserError(
                "KTO's reference point asks for answers to other prompts, which a policy under "
                "top-k, top-p or min-p never gives: leave them out; the temperature is free."
            )
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings, self.reference = settings or KTO.Settings(), reference

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step."""
        s = self.settings
        with self.stopwatch.phase("score"):
            anchor = self.anchor(batch)
            referred = refer(self.reference, batch, self.learner)
        count = self.learner.count_rows(referred)
        kinds = (is_wanted(referred), ~is_wanted(referred))
        wanted, unwanted = map(self.learner.count, kinds)
        both = tuple(bool(kind.any()) for kind in kinds)  # a mean over no answer is no figure

        def loss(rows: Referred) -> tuple[Tensor, Mapping[str, Tensor]]:
            desirable = is_wanted(rows)
            logp = answer_logp(self.policy, rows)  # [B]
            ratio = logp - rows.reference_answer
            each = kto(ratio, desirable, anchor, s.beta, s.desirable_weight, s.undesirable_weight)
            reward = s.beta * ratio
            marks = {}
            if both[0]:
                marks["preferred_logp"] = torch.where(desirable, logp, 0.0).sum() / wanted
            if both[1]:
                marks["rejected_logp"] = torch.where(desirable, 0.0, logp).sum() / unwanted
            if all(both):
                marks["reward_gap"] = torch.where(
                    desirable, reward / wanted, -reward / unwanted
                ).sum()
            return each.sum() / count, marks

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, referred) | {"reference_point": float(anchor)}

    def anchor(self, batch: Trajectories) -> Tensor:
        """z₀.  -> []"""
        rows = mismatch(split_answers(batch))
        policy, reference = (
            refer(each, rows, self.learner).reference_answer
            for each in (self.policy, self.reference)
        )
        log_ratio = policy - reference  # [B]
        mean = log_ratio.double().mean()
        return mean.clamp(min=0.0).to(log_ratio.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def is_wanted(rows: Trajectories) -> Tensor:
    """Whether what each row earned is positive.  -> [B] bool"""
    return sum_rewards(rows) > 0


# A prompt's tokens, its answer's, and which of the answer's are the policy's own.
JudgedAnswers = tuple[list[int], list[int], list[bool]]


def split_answers(batch: Trajectories) -> list[JudgedAnswers]:
    """Each row cut before its answer's first token."""
    obs, chosen, last = batch.obs.tolist(), batch.chosen.tolist(), batch.last().tolist()
    # the step of the answer's first token, which is token first + 1
    first = batch.chosen.int().argmax(1).tolist()
    cuts = zip(obs, chosen, first, last, strict=True)
    return [(row[: a + 1], row[a + 1 : b + 1], own[a:b]) for row, own, a, b in cuts]


def mismatch(rows: Sequence[JudgedAnswers]) -> Trajectories:
    """Each prompt with the answer of the nearest row whose prompt differs, the one before it of
    two.

    Where all prompts are the same nothing can be mismatched, and each takes the answer of the row
    before it: z₀ is then that of answers to the prompt itself. No row becomes longer than the
    longer of the two: what is over is cut. Raises ValueError for a single row, which has no
    neighbour.
    """
    if len(rows) < 2:
        raise ValueError(
            "KTO's reference point needs 2 rows or more a step: one row has no neighbour."
        )
    tokens, own = [], []
    for i, (prompt, answer, _) in enumerate(rows):
        near = (
            j
            for distance in range(1, len(rows))
            for j in (i - distance, i + distance)
            if 0 <= j < len(rows)
        )
        other = rows[next((j for j in near if rows[j][0] != prompt), i - 1)]
        longest = max(len(prompt) + len(answer), len(other[0]) + len(other[1]))
        tokens.append((prompt + other[1])[:longest])
        own.append(([False] * len(prompt) + other[2])[:longest])
    return from_rows(tokens, own)
