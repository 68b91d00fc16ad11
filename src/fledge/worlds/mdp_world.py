"""A process of tables as a world: what learns from experience acts in it, while solvers read the
same tables.

The work is done in numpy, whose small arrays cost a quarter of torch's (as in batched_cartpole.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mdp import MDP, Pomdp
from fledge.worlds.world import Choices, Space, Step


class MDPWorld:
    """The observation is the number of the state, or of a sign of it where the process is a Pomdp;
    the action is one of A.

    Terminated in a terminal state; truncated after `time_limit` steps, if there is one. A step pays
    what its outcome pays where the process knows that, its expectation otherwise. All copies draw
    from one generator, three numbers each a step whatever happens.

    Raises UserError for a limit below 1.
    """

    restorable = True

    def __init__(
        self,
        process: MDP | Pomdp,
        copies: int,
        *,
        time_limit: int | None = None,
        name: str = "process",
    ) -> None:
        if time_limit is not None and time_limit < 1:
            raise UserError(f"time_limit is {time_limit}: give 1 step or more, or none.")
        self.name, self.copies, self.time_limit = name, copies, time_limit
        self.mdp = process.mdp if isinstance(process, Pomdp) else process
        signs = process.signs if isinstance(process, Pomdp) else self.mdp.states
        self.observation: Space = Choices((signs,))
        self.action: Space = Choices((self.mdp.actions,))
        row, after, chance = (x.numpy() for x in self.mdp.entries())
        self.after, self.pays = after, self.mdp.payments().float().numpy()  # [N] each
        # [A·S+1]
        self.begins = np.searchsorted(row, np.arange(self.mdp.actions * self.mdp.states + 1))
        # All chances in one rising line, so that one search draws for all copies, however many
        # states may follow.
        self.upto = np.concatenate([[0.0], chance.cumsum()])  # [N+1]
        self.first = self.mdp.start.cumsum(0).numpy()  # [S]
        # [S, O]
        self.sign = process.emission.cumsum(1).numpy() if isinstance(process, Pomdp) else None
        self.terminal = self.mdp.terminal.numpy()  # [S]
        self.generator = torch.Generator()
        self.state, self.seen, self.elapsed = np.zeros((3, copies), dtype=np.int64)  # [n] each
        self.over = np.zeros(copies, dtype=bool)  # [n]

    def reset(self, seed: int) -> Tensor:
        self.generator.manual_seed(seed)
        uniform = self._uniform()
        self.state = self._draw_start(uniform[1])
        self.elapsed, self.over = np.zeros_like(self.elapsed), np.zeros_like(self.over)
        return self._observe(uniform[2])

    def step(self, action: Tensor) -> Step:
        """Raises UserError for an action that is none of the A."""
        chosen = action.numpy()
        if chosen.min() < 0 or chosen.max() >= self.mdp.actions:
            raise UserError(
                f"{self.name} was told {action.tolist()}: give 0 to {self.mdp.actions - 1} to each "
                "copy."
            )
        uniform = self._uniform()
        outcome = self._outcome(chosen, uniform[0])
        reward, state, elapsed = self.pays[outcome], self.after[outcome], self.elapsed + 1
        if self.over.any():  # what was done there reaches nobody
            reward[self.over], elapsed[self.over] = 0.0, 0
            state = np.where(self.over, self._draw_start(uniform[1]), state)
        self.state, self.elapsed = state, elapsed
        terminated = self.terminal[state]  # nothing starts in a terminal state
        truncated = ~terminated & (elapsed == (self.time_limit or -1))
        self.over = terminated | truncated
        return Step(
            self._observe(uniform[2]), *map(torch.from_numpy, (reward, terminated, truncated))
        )

    def _uniform(self) -> np.ndarray:
        """For what follows, for a start, for a sign.  -> [3, n] float64"""
        return torch.rand(3, self.copies, generator=self.generator, dtype=torch.float64).numpy()

    def _outcome(self, action: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """s′ ~ P[a, s, ·], as its place in `after`.  [n], [n] -> [n]"""
        row = action * self.mdp.states + self.state
        begin, end = self.begins[row], self.begins[row + 1]
        low, high = self.upto[begin], self.upto[end]
        place = np.searchsorted(self.upto, low + uniform * (high - low), side="right") - 1
        # rounding must not lead into another row
        return np.minimum(np.maximum(place, begin), end - 1)

    def _draw_start(self, uniform: np.ndarray) -> np.ndarray:
        """s ~ start.  [n] -> [n]"""
        return np.searchsorted(self.first, uniform * self.first[-1], side="right")

    def _observe(self, uniform: np.ndarray) -> Tensor:
        """The state, or o ~ O[s, ·].  [n] -> [n]"""
        if self.sign is None:
            self.seen = self.state
        else:
            upto = self.sign[self.state]  # [n, O]
            self.seen = (upto <= uniform[:, None] * upto[:, -1:]).sum(1)
        return torch.from_numpy(self.seen.copy())

    def state_dict(self) -> dict[str, Any]:
        kept = {name: getattr(self, name).copy() for name in ("state", "seen", "elapsed", "over")}
        return {**kept, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.state, self.seen, self.elapsed, self.over = (
            state[name].copy() for name in ("state", "seen", "elapsed", "over")
        )
        self.generator.set_state(state["generator"])
        return torch.from_numpy(self.seen.copy())

    def close(self) -> None:
        """It holds nothing that must be given back."""
