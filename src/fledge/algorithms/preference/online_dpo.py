"""Online DPO: the pairs are the policy's own, the best and the worst of several answers to each
prompt.

sample: policy, in groups.  score: verifier.  weigh: –.  fit: DPO's, on one pair a group (Guo et al.
2024, algorithm 1, where an annotator ranks two answers; best and worst of more: Xiong et al. 2024).
A group whose answers all earned the same makes no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field, SkipValidation
from torch import Tensor

from fledge.algorithms.preference.dpo import DPO, PairLoss, WeighedPairs
from fledge.algorithms.settings import AlgorithmSettings, Sampling
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.preference_losses import dpo
from fledge.score.scoring import kl_to, sum_rewards, use_trainer_logp, zero_spread_groups
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class OnlineDPO:
    unfinished = None  # one optimizer step per batch: the pairs are the current policy's

    class Settings(AlgorithmSettings):
        """Of online DPO: how dear it is to leave the base is β of the run."""

        loss: SkipValidation[PairLoss] = Field(default=dpo, exclude=True)

        def sampling(self) -> Sampling:
            return Sampling(smallest_group=2)

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        reference: TokenPolicy,
        beta: float = 0.1,
    ) -> None:
        """beta: β of the loss, the verb's `kl_coefficient`."""
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings, self.reference = settings or OnlineDPO.Settings(), reference
        own = DPO.Settings(beta=beta, loss=self.settings.loss)
        self.dpo = DPO(policy, learner, stopwatch, own, reference=reference)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. zero_spread_groups: the share of groups whose answers all earned the
        same, which are left out.
        """
        batch = batch.to(self.learner.device)
        with self.stopwatch.phase("score"):
            samples, figures = use_trainer_logp(self.policy, batch, self.learner)
            figures |= kl_to(self.reference, samples, self.learner)[1]
        figures["zero_spread_groups"] = zero_spread_groups(batch)
        best, worst, spread = best_and_worst(batch)
        kept = spread.nonzero().squeeze(1)
        # a pair that counts for nothing, so that this rank takes part in the step of the others
        if not len(kept):
            kept = torch.zeros(1, dtype=torch.long, device=spread.device)
        weight = spread[kept].to(batch.reward.dtype)  # [pairs]
        pairs = WeighedPairs(batch[best[kept]], batch[worst[kept]], weight)
        return self.dpo.update(pairs) | figures

    def state_dict(self) -> dict[str, Any]:
        return self.dpo.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.dpo.load_state_dict(state)


def best_and_worst(batch: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    """The numbers of the rows that earned most and least in each group, the first of equals, and
    whether they differ.  -> [G] each
    """
    if batch.group is None:
        raise ValueError("online DPO compares the answers to one prompt: the batch has no `group`.")
    score = sum_rewards(batch)  # [B]
    pairs = []
    for name in batch.group.unique():
        rows = (batch.group == name).nonzero().squeeze(1)
        best, worst = rows[score[rows].argmax()], rows[score[rows].argmin()]
        pairs.append(torch.stack([best, worst, (score[best] > score[worst]).long()]))
    best, worst, spread = torch.stack(pairs, 1)
    return best, worst, spread.bool()
