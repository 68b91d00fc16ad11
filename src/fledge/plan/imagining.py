"""Acting by imagining: the cross-entropy method over sequences of actions, each rolled out by a
model of the next frame (Rubinstein 1999; over learned models, Chua et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# frames [B, C, H, W] uint8, actions [B, T] -> frames [B, T, C, H, W] uint8
RollOut = Callable[[Tensor, Tensor, torch.Generator], Tensor]
# frames [B, T, C, H, W] -> [B, T], what each is worth when it is reached
ReadReward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CrossEntropyPlanner:
    """rounds=1 is random shooting. candidates: sequences a round, of which `kept` move the chances
    from which those of the next round are drawn.
    """

    actions: int
    horizon: int = 8  # actions
    candidates: int = 64
    kept: int = 8
    rounds: int = 3
    gamma: float = 0.9
    floor: float = 0.05  # of every action's chance, so that none is ever lost

    def choose(
        self, frame: Tensor, roll_out: RollOut, reward: ReadReward, generator: torch.Generator
    ) -> int:
        """The first action of the best sequence of all rounds.  [C, H, W] uint8 -> its number"""
        chance = torch.full((self.horizon, self.actions), 1 / self.actions)
        best, value_of_best = 0, -torch.inf
        start = frame.expand(self.candidates, *frame.shape)
        discount = self.gamma ** torch.arange(self.horizon)
        for _ in range(self.rounds):
            drawn = torch.multinomial(
                chance, self.candidates, replacement=True, generator=generator
            ).T  # [candidates, horizon]
            value = (reward(roll_out(start, drawn, generator)) * discount).sum(1)
            order = value.argsort(descending=True, stable=True)
            if float(value[order[0]]) > value_of_best:
                value_of_best, best = float(value[order[0]]), int(drawn[order[0], 0])
            elite = torch.nn.functional.one_hot(drawn[order[: self.kept]], self.actions)
            chance = elite.float().mean(0).clamp(min=self.floor)
            chance = chance / chance.sum(1, keepdim=True)
        return best
