"""Acting by imagining: the cross-entropy method over sequences of actions, each rolled out by a
model of the next frame (Chua et al. 2018; the method: plan/shooting.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.plan.proposals import ChoiceProposal
from fledge.plan.shooting import CrossEntropy

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
        start = frame.expand(self.candidates, *frame.shape)
        discount = self.gamma ** torch.arange(self.horizon)

        def worth(sequences: Tensor) -> Tensor:
            return (reward(roll_out(start, sequences[0], generator)) * discount).sum(1)[None]

        chance = torch.full((1, self.horizon, self.actions), 1 / self.actions)
        search = CrossEntropy(self.candidates, self.kept, self.rounds)
        plan = search(ChoiceProposal(chance, self.floor), worth, generator)
        return int(plan.sequence[0, 0])
