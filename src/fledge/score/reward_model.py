"""A learned reward: the reward model's number at the last real token, with the task's true verdict
beside it where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fledge.models.language.heads import ScalarModel
from fledge.sample.generate import Completion
from fledge.score.unfinished import MOST, cap_unfinished
from fledge.score.verifier import Verifier
from fledge.tasks.named import Example
from fledge.trajectories import from_rows


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
        rows: int = 256,
        cut_reward: float = MOST,
    ) -> None:
        """cut_reward: the most that an answer earns which never stopped; its figure is not
        capped.
        """
        self.model, self.mean, self.std, self.truth, self.rows = model, mean, std, truth, rows
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
    def raw(self, completions: Sequence[Completion]) -> torch.Tensor:
        """[B]"""
        out = []
        for a in range(0, len(completions), self.rows):
            rows = [c.prompt + c.tokens for c in completions[a : a + self.rows]]
            own = [
                [i >= len(c.prompt) for i in range(len(row))]
                for c, row in zip(completions[a:], rows, strict=False)
            ]
            batch = from_rows(rows, own).to(self.model.network.unembedding.device)
            out.append(self.model.score(batch.obs, batch.last()))
        return torch.cat(out)
