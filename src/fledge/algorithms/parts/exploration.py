"""How often an ε-greedy actor does anything at all: a share that falls over a run."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from fledge.algorithms.settings import AlgorithmSettings


@dataclass(frozen=True)
class Exploration:
    """ε: the share of actions that are any action, falling in a line from `first` to `last` over
    `world_steps`.
    """

    first: float = 1.0
    last: float = 0.04
    world_steps: int = 8_000

    def epsilon(self, world_steps: int) -> float:
        done = min(1.0, world_steps / self.world_steps) if self.world_steps else 1.0
        return self.first + (self.last - self.first) * done


class ExploringSettings(AlgorithmSettings):
    """Of an algorithm that acts ε-greedily."""

    exploration_share: float = Field(
        default=0.1, ge=0, le=1, description="of the world steps, in which ε falls"
    )
    last_epsilon: float = Field(default=0.04, ge=0, le=1, description="ε from then on")

    def over(self, steps: int, *, trained: bool) -> Exploration:
        """From any action to hardly any, in a run of so many world steps; who was trained before
        explores no more than at its end.
        """
        return Exploration(
            first=self.last_epsilon if trained else 1.0,
            last=self.last_epsilon,
            world_steps=int(self.exploration_share * steps),
        )
