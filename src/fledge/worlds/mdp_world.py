"""A process of tables as a world: what learns from experience acts in it, while solvers read the same tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mdp import MDP, Pomdp
from fledge.worlds.world import Choices, Space, Step


class MDPWorld:
    """The observation is the number of the state, or of a sign of it where the process is a Pomdp; the action is one of A.

    Terminated in a terminal state; truncated after `time_limit` steps, if there is one. A step pays what its outcome pays where the process
    knows that, its expectation otherwise. All copies draw from one generator, three numbers each a step whatever happens.

    Raises UserError for a limit below 1.
    """

    restorable = True

    def __init__(
        self, process: MDP | Pomdp, copies: int, *, time_limit: int | None = None, name: str = "process"
    ) -> None:
        if time_limit is not None and time_limit < 1:
            raise UserError(f"time_limit is {time_limit}: give 1 step or more, or none.")
        self.name, self.copies, self.time_limit = name, copies, time_limit
        self.mdp = process.mdp if isinstance(process, Pomdp) else process
        signs = process.signs if isinstance(process, Pomdp) else self.mdp.states
        self.observation: Space = Choices((signs,))
        self.action: Space = Choices((self.mdp.actions,))
        row, self.after, chance = self.mdp.entries()
        self.begins = torch.searchsorted(row, torch.arange(self.mdp.actions * self.mdp.states + 1))  # [A·S+1]
        # All chances in one rising line, so that one search draws for all copies, however many states may follow.
        self.upto = torch.cat([torch.zeros(1, dtype=torch.float64), chance.cumsum(0)])  # [N+1]
        self.pays = self.mdp.payments()  # [N]
        self.first = self.mdp.start.cumsum(0)  # [S]
        self.sign = process.emission.cumsum(1) if isinstance(process, Pomdp) else None  # [S, O]
        self.generator = torch.Generator()
        self.state = torch.zeros(copies, dtype=torch.long)  # [n]
        self.seen = torch.zeros(copies, dtype=torch.long)  # [n]
        self.elapsed = torch.zeros(copies, dtype=torch.long)  # [n]
        self.over = torch.zeros(copies, dtype=torch.bool)  # [n]

    def reset(self, seed: int) -> Tensor:
        self.generator.manual_seed(seed)
        uniform = torch.rand(3, self.copies, generator=self.generator, dtype=torch.float64)
        self.state = _among(self.first, uniform[1])
        self.elapsed = torch.zeros_like(self.elapsed)
        self.over = torch.zeros_like(self.over)
        self.seen = self._observed(uniform[2])
        return self.seen

    def step(self, action: Tensor) -> Step:
        """Raises UserError for an action that is none of the A."""
        if bool(((action < 0) | (action >= self.mdp.actions)).any()):
            raise UserError(f"{self.name} was told {action.tolist()}: give 0 to {self.mdp.actions - 1} to each copy.")
        uniform = torch.rand(3, self.copies, generator=self.generator, dtype=torch.float64)
        outcome = self._outcome(action, uniform[0])
        self.state = torch.where(self.over, _among(self.first, uniform[1]), self.after[outcome])
        self.elapsed = torch.where(self.over, 0, self.elapsed + 1)
        terminated = self.mdp.terminal[self.state]  # nothing starts in a terminal state
        truncated = torch.zeros_like(terminated)
        if self.time_limit is not None:
            truncated = ~terminated & (self.elapsed == self.time_limit)
        reward = torch.where(self.over, 0.0, self.pays[outcome]).float()
        self.over = terminated | truncated
        self.seen = self._observed(uniform[2])
        return Step(self.seen, reward, terminated, truncated)

    def _outcome(self, action: Tensor, uniform: Tensor) -> Tensor:
        """s′ ~ P[a, s, ·], as its place in `after`.  [n], [n] -> [n]"""
        row = action * self.mdp.states + self.state
        begin, end = self.begins[row], self.begins[row + 1]
        low, high = self.upto[begin], self.upto[end]
        place = torch.searchsorted(self.upto, low + uniform * (high - low), right=True) - 1
        return place.clamp(min=begin, max=end - 1)

    def _observed(self, uniform: Tensor) -> Tensor:
        return self.state if self.sign is None else _among(self.sign[self.state], uniform)

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "seen": self.seen,
            "elapsed": self.elapsed,
            "over": self.over,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.state, self.seen, self.elapsed, self.over = (state[key] for key in ("state", "seen", "elapsed", "over"))
        self.generator.set_state(state["generator"])
        return self.seen

    def close(self) -> None:
        """It holds nothing that must be given back."""


def _among(upto: Tensor, uniform: Tensor) -> Tensor:
    """Draws from cumulated chances, the same for all, [K], or each from its own, [n, K].  [n] uniform -> [n]"""
    drawn = torch.searchsorted(upto, uniform[..., None] * upto[..., -1:], right=True).squeeze(-1)
    return drawn.clamp(max=upto.shape[-1] - 1)
