"""Q[s, a] as a table, and the ε-greedy actor over it: what tabular learning fills in and acts by
(Sutton & Barto 2018, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.exploration import Exploration, ExploringSettings
from fledge.errors import UserError
from fledge.worlds.world import Choices, Space

# of learning, by how often this pair has been seen, this time counted: 1, 2, …
Rate = Callable[[int], float]
LARGEST = 100_000_000  # entries: two tables of 0.8 GB


def constant_rate(alpha: float) -> Rate:
    """Follows a world or a policy that changes; never comes to rest."""
    return lambda visits: alpha


def falling_rate(power: float = 1.0) -> Rate:
    """visits^−power: 1 is the mean of all targets; between ½ and 1 comes sooner to Q* (Even-Dar &
    Mansour 2003).
    """
    return lambda visits: visits**-power


class TableSettings(ExploringSettings):
    """Of an algorithm that fills a table."""

    gamma: float = Field(default=0.99, ge=0, le=1, description="discount per step")


class ActionTable:
    """Q [S, A] in float64, from `initial`; visits [S, A]; and the steps it was taught, on which ε
    hangs.

    Observations are one choice or several at once, numbered row by row. Raises UserError for other
    spaces.
    """

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        rate: Rate | None = None,
        exploration: Exploration | None = None,
        initial: float = 0.0,
    ) -> None:
        """rate: of learning, the mean of all targets unless given. exploration: 0.1 of all actions
        unless given.
        """
        if (
            not isinstance(observation, Choices)
            or not isinstance(action, Choices)
            or len(action.sizes) != 1
        ):
            raise UserError(
                f"a table was asked for over {observation} and {action}: it takes observations "
                "that are choices and actions that are one choice. Take DQN or PPO for the rest."
            )
        self.sizes = observation.sizes
        if math.prod(self.sizes) * action.sizes[0] > LARGEST:
            raise UserError(
                f"a table over {observation} and {action} would have "
                f"{math.prod(self.sizes) * action.sizes[0]:.3g} entries: {LARGEST:,} are the most. "
                "Give dqn or ppo."
            )
        self.q = torch.full((math.prod(self.sizes), action.sizes[0]), initial, dtype=torch.float64)
        self.visits = torch.zeros(self.q.shape, dtype=torch.long)
        self.rate = rate or falling_rate()
        self.exploration = exploration or Exploration(0.1, 0.1)
        self.taught = 0  # steps

    @property
    def epsilon(self) -> float:
        return self.exploration.epsilon(self.taught)

    def states(self, obs: Tensor) -> Tensor:
        """The rows of the table.  [*N, *O] -> [*N]"""
        if len(self.sizes) == 1:
            return obs
        number = torch.zeros_like(obs[..., 0])
        for part, size in zip(obs.unbind(-1), self.sizes, strict=True):
            number = number * size + part
        return number

    def chances(self, obs: Tensor) -> Tensor:
        """π(a|s): ε/A each, and 1 − ε shared by the best.  [n, *O] -> [n, A]"""
        q = self.q[self.states(obs)]
        best = (q == q.amax(1, keepdim=True)).double()
        epsilon = self.epsilon
        return epsilon / q.shape[1] + (1 - epsilon) * best / best.sum(1, keepdim=True)

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[n, *O] -> action [n], log-probability [n]"""
        chance = self.chances(obs)
        # Half the time of torch.multinomial for a few copies.
        upto = chance.cumsum(1)
        uniform = torch.rand(len(obs), 1, generator=generator, dtype=torch.float64)
        action = (upto <= uniform * upto[:, -1:]).sum(1)
        return action, chance.gather(1, action[:, None]).squeeze(1).log().float()

    def best(self, obs: Tensor) -> Tensor:
        """The first of the best actions.  [n, *O] -> [n]"""
        return self.q[self.states(obs)].argmax(1)

    def state_dict(self) -> dict[str, Any]:
        return {"q": self.q, "visits": self.visits, "taught": self.taught}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.q.copy_(state["q"])
        self.visits.copy_(state["visits"])
        self.taught = state["taught"]


class Writing:
    """The table's memory as Python reads and writes it, one number at a time: measured, forty times
    as fast as through a tensor.
    """

    def __init__(self, table: ActionTable) -> None:
        self.table, self.actions = table, table.q.shape[1]
        self.q: Any = table.q.view(-1).numpy().data
        self.visits: Any = table.visits.view(-1).numpy().data
        self.moved, self.moves = 0.0, 0  # Σ |target − Q|, and of how many

    def row(self, state: int) -> Sequence[float]:
        """Q[s, ·], [A]"""
        return self.q[state * self.actions : (state + 1) * self.actions]

    def teach(self, state: int, action: int, target: float) -> None:
        """Q[s, a] ← Q[s, a] + α (target − Q[s, a]), with α by the visits."""
        pair = state * self.actions + action
        self.visits[pair] += 1
        error = target - self.q[pair]
        self.q[pair] += self.table.rate(self.visits[pair]) * error
        self.moved += abs(error)
        self.moves += 1

    def figures(self) -> dict[str, float]:
        # nothing was taught: that is no error of 0
        error = {"error": self.moved / self.moves} if self.moves else {}
        return error | {
            "epsilon": self.table.epsilon,
            "seen_pairs": float((self.table.visits > 0).double().mean()),
        }
