"""A learned reward: the reward model's number at the last real token, with the task's true verdict
beside it where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fledge.micro_batches import READ, MicroBatches
from fledge.models.language.heads import ScalarModel
from fledge.sample.conversing import mark_own
from fledge.sample.generate import Completion
from fledge.score.unfinished import MOST, cap_unfinished
from fledge.score.verifier import Verifier
from fledge.tasks.named import Example
from fledge.trajectories import Trajectories, from_rows


class RewardModelScore:
    """reward = (r(x, y) − mean) / std, the two taken from the reward model's training pairs: β
    keeps its meaning between models.

    The true score is only looked at, never trained on: it shows when the policy wins the model's
    favour and loses the task.
    """

    def __init__(
        self,
        model: ScalarModel,
        *,
        mean: float,
        std: float,
        truth: Verifier | None,
        cut_reward: float = MOST,
    ) -> None:
        """cut_reward: the most that an answer earns which never stopped; its figure is not
        capped.
        """
        self.model, self.mean, self.std, self.truth = model, mean, std, truth
        self.cut_reward = cut_reward

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        scores = (self.raw(completions) - self.mean) / self.std
        reward = cap_unfinished(scores.tolist(), completions, self.cut_reward)
        marks = {"reward": reward, "reward_model_score": scores.tolist()}
        if self.truth is not None:
            true = self.truth(examples, completions, texts)
            marks |= {"true_score": true.pop("reward"), **true}
        return marks

    @torch.no_grad()
    def raw(self, completions: Sequence[Completion]) -> Tensor:
        """[B]"""
        device = self.model.network.unembedding.device
        rows = [c.prompt + c.tokens for c in completions]
        own = [[False] * len(c.prompt) + mark_own(c) for c in completions]

        def score(piece: Trajectories) -> list[Tensor]:
            piece = piece.to(device)
            return [self.model.score(piece.obs, piece.last())]

        [scores] = MicroBatches(tokens=READ).map(score, from_rows(rows, own))
        return scores
