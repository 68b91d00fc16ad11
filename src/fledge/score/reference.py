"""What a frozen reference says of a batch, once and without a gradient, and what a whole answer's
log-probability is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.score.scoring import log_prob_in_pieces, untruncate
from fledge.trajectories import Trajectories


@dataclass(frozen=True, kw_only=True)
class Referred(Trajectories):
    """Trajectories beside which stands what the reference says of them."""

    reference_logp: Tensor  # [B, T]

    @property
    def reference_answer(self) -> Tensor:
        """log π_ref of each row's answer.  [B]"""
        return torch.where(self.chosen, self.reference_logp, 0.0).sum(1)


def refer(reference: TokenPolicy, rows: Trajectories, learner: Learner) -> Referred:
    """By the reference that `untruncate` gives, as the KL is: one run has one reference.

    Asked in pieces of the learner's size, which change memory and nothing else.
    """
    rows = rows.to(learner.device)
    said = log_prob_in_pieces(untruncate(reference), rows, learner)
    return Referred.of(rows, reference_logp=said)


def answer_logp(policy: TokenPolicy, rows: Trajectories) -> Tensor:
    """log π(y|x), the sum over the steps of each row that were chosen.  -> [B]"""
    return torch.where(rows.chosen, policy.log_prob(rows.obs, rows.action, rows.chosen), 0.0).sum(1)


def answer_tokens(rows: Trajectories) -> Tensor:
    """|y|, the steps of each row that were chosen.  -> [B] at least 1"""
    return rows.chosen.sum(1).clamp(min=1)
