"""A reward model from preferences: −log σ(r(x, y_w) − r(x, y_l) − m), the score read at the last
real token.

sample: pairs.  score: –.  weigh: –.  fit: pairwise logistic (Ouyang et al. 2022, eq. 1), with a
margin m (Touvron et al. 2023, eq. 2; there one for each pair, here the same for all).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fledge.fit import pairwise_logistic
from fledge.learner import Learner
from fledge.models.language.heads import ScalarModel
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs


class RewardModelling:
    unfinished = None

    def __init__(
        self, model: ScalarModel, learner: Learner, stopwatch: Stopwatch, *, margin: float = 0.0
    ) -> None:
        self.model, self.learner, self.stopwatch, self.margin = model, learner, stopwatch, margin

    def update(
        self, batch: Pairs, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. pair_accuracy: the share of pairs ranked as preferred; a tie is half
        right.
        """
        count = self.learner.count_rows(batch)

        def loss(pairs: Pairs) -> tuple[Tensor, Mapping[str, Tensor]]:
            preferred = self.model.score(pairs.preferred.obs, pairs.preferred.last())  # [B]
            rejected = self.model.score(pairs.rejected.obs, pairs.rejected.last())  # [B]
            gap = preferred - rejected
            right = (gap > 0).float() + 0.5 * (gap == 0).float()
            share = pairwise_logistic(preferred, rejected, self.margin).sum() / count
            return share, {"pair_accuracy": right.sum() / count, "reward_gap": gap.sum() / count}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
