"""KTO: answers that are wanted or not, one by one; each is worth its log π/π_ref above a reference point, and less the further off.

sample: answers with a verdict (a positive reward: wanted).  score: log-probability under the reference.  weigh: λ_D or λ_U.
fit: λ_y − v(x, y) (Ethayarajh et al. 2024, eq. 8). The reference point z₀ = max(0, mean log π/π_ref of mismatched answers), section
4.1's estimate of KL(π‖π_ref), is taken once per batch and has no gradient. Mismatched: each prompt with its neighbour's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.reference import Referred, answer_logp, refer
from fledge.algorithms.scoring import earned
from fledge.fit import kto
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories, from_rows


class KTO:
    unfinished = None

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        *,
        reference: TokenPolicy,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
    ) -> None:
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.reference, self.beta = reference, beta
        self.desirable_weight, self.undesirable_weight = desirable_weight, undesirable_weight

    def update(self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None) -> dict[str, float]:
        """One optimizer step on rows of prompts that differ from neighbour to neighbour."""
        with self.stopwatch.phase("score"):
            anchor = self.anchor(batch)
            batch = refer(self.reference, batch, self.learner)
        count = self.learner.count_rows(batch)
        wanted, unwanted = (self.learner.count(mask) for mask in (is_wanted(batch), ~is_wanted(batch)))

        def loss(rows: Referred) -> tuple[Tensor, Mapping[str, Tensor]]:
            desirable = is_wanted(rows)
            logp = answer_logp(self.policy, rows)  # [B]
            ratio = logp - rows.reference_answer
            each = kto(ratio, desirable, anchor, self.beta, self.desirable_weight, self.undesirable_weight)
            reward = self.beta * ratio
            gap = torch.where(desirable, reward / wanted, -reward / unwanted).sum()
            preferred = torch.where(desirable, logp, 0.0).sum() / wanted
            rejected = torch.where(desirable, 0.0, logp).sum() / unwanted
            return each.sum() / count, {"reward_gap": gap, "preferred_logp": preferred, "rejected_logp": rejected}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"reference_point": float(anchor)}

    def anchor(self, batch: Trajectories) -> Tensor:
        """z₀, over all ranks.  -> []"""
        rows = mismatched(batch)
        policy, reference = (refer(each, rows, self.learner).reference_answer for each in (self.policy, self.reference))
        log_ratio = policy - reference  # [B]
        return (self.learner.sum(log_ratio.sum()) / self.learner.count_rows(rows)).clamp(min=0.0).to(log_ratio.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def is_wanted(rows: Trajectories) -> Tensor:
    """Whether what each row earned is positive.  -> [B] bool"""
    return earned(rows) > 0


def mismatched(batch: Trajectories) -> Trajectories:
    """Each prompt with its neighbour's answer: rows 0 and 1 change theirs, 2 and 3 …; an odd last row takes the one before it.

    No row becomes longer than the longer of the two: what is over is cut. Raises ValueError for a single row, which has no neighbour.
    """
    if len(batch) < 2:
        raise ValueError("KTO's reference point needs 2 rows or more a step: one row has no neighbour.")
    obs, chosen, last = batch.obs.tolist(), batch.chosen.tolist(), batch.last().tolist()
    first = batch.chosen.int().argmax(1).tolist()  # the step of the answer's first token, which is token first + 1
    rows, own = [], []
    for i in range(len(batch)):
        j = i ^ 1 if i ^ 1 < len(batch) else i - 1
        prompt, longest = obs[i][: first[i] + 1], max(last[i], last[j]) + 1
        rows.append((prompt + obs[j][first[j] + 1 : last[j] + 1])[:longest])
        own.append(([False] * len(prompt) + chosen[j][first[j] : last[j]])[:longest])
    return from_rows(rows, own)
