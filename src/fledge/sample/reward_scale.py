"""Rewards in units of the returns' spread, so that one learning rate fits worlds that pay in
different coin.

Huang et al. 2022, "The 37 implementation details of PPO", continuous details 8 and 9: divided by
the running standard deviation of the discounted return, and cut at ±10. The statistics change once
a batch, and are state; they are each process's own, of the copies
that it acts in: where ranks learn together, each scales what it saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.trajectories import Trajectories

MOST = 10.0
ROUNDING = 1e-12  # of the mean: the spread that equal numbers may show in float64


class RewardScale:
    """gamma: of the discounted return. State: count, mean and sum of squares of the returns seen,
    and each copy's return so far.
    """

    def __init__(self, copies: int, gamma: float) -> None:
        self.gamma = gamma
        self.back = torch.zeros(copies, dtype=torch.float64)
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0

    @property
    def spread(self) -> float:
        """Of the returns so far; 1 where they differ by rounding errors alone."""
        spread = (self.squares / self.count) ** 0.5 if self.count else 0.0
        return spread if spread > ROUNDING * abs(self.mean) else 1.0

    def __call__(self, rows: Trajectories) -> Trajectories:
        """The same rows with their rewards scaled, after counting them in."""
        ended = rows.terminated | rows.truncated
        seen = torch.empty(rows.reward.shape, dtype=torch.float64)
        for t, reward in enumerate(rows.reward.double().unbind(1)):
            self.back = self.gamma * self.back + reward
            seen[:, t] = self.back
            self.back = torch.where(ended[:, t], 0.0, self.back)
        self._count_in(seen[rows.chosen])
        return rows.replace(reward=(rows.reward / self.spread).clamp(-MOST, MOST))

    def begin_anew(self) -> None:
        """Every copy is at the start of an episode; what was learned of the spread stays."""
        self.back = torch.zeros_like(self.back)

    def _count_in(self, x: Tensor) -> None:
        """Chan et al. 1979, eq. 2.1b."""
        n = len(x)
        if not n:
            return
        whole, mean = self.count + n, float(x.mean())
        away = mean - self.mean
        self.squares += float(((x - mean) ** 2).sum()) + away**2 * self.count * n / whole
        self.mean += away * n / whole
        self.count = whole

    def state_dict(self) -> dict[str, Any]:
        return {"back": self.back, "count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.back, self.count, self.mean, self.squares = (
            state["back"],
            state["count"],
            state["mean"],
            state["squares"],
        )
