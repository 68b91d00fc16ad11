"""Looking ahead in the true world: copies of it set to what was seen, or the tables that it is made
of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fledge.models.control.imagined import Imagined
from fledge.worlds.mdp import MDP
from fledge.worlds.set_to import set_to
from fledge.worlds.world import World


class WorldCopies:
    """As many copies as a planner has rows, made when they are first asked for. Their step is a
    planner's only state: what has ended stays ended, whatever the copy does next.
    """

    def __init__(self, make: Callable[[int], World]) -> None:
        """make: so many copies of one world."""
        self.make = make
        self.kept: dict[int, World] = {}

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        """[B, *O] -> [B·N, *O]"""
        rows = obs.repeat_interleave(candidates, 0)
        if len(rows) not in self.kept:
            self.kept[len(rows)] = self.make(len(rows))
            self.kept[len(rows)].reset(0)
        set_to(self.kept[len(rows)], rows)
        return rows

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        """What the copies do; the last that `begin` has set."""
        world = self.kept[len(state)]
        told = action.reshape(len(state), *world.action.shape)
        obs, reward, terminated, _ = world.step(told)
        return Imagined(obs, reward[None], 1 - terminated[None].to(reward.dtype))

    def observe(self, state: Tensor) -> Tensor:
        """[R, *O] -> [1, R, *O]"""
        return state[None]

    def close(self) -> None:
        """Ends what the copies hold."""
        for world in self.kept.values():
            world.close()
        self.kept = {}


class TableDynamics:
    """A process of tables: the chance of being in every state is carried along, [R, S], so that a
    sequence's worth is its expectation, without a draw.
    """

    def __init__(self, mdp: MDP) -> None:
        self.chance, self.reward = mdp.dense(), mdp.reward  # [A, S, S], [S, A]
        self.states = mdp.states

    def begin(self, obs: Tensor, candidates: int) -> Tensor:
        """States [B] -> [B·N, S]"""
        one_hot = torch.nn.functional.one_hot(obs.long(), self.states).double()
        return one_hot.repeat_interleave(candidates, 0)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        """Nothing ends: a terminal state stays where it is, and pays nothing."""
        reward = (state * self.reward.T[action]).sum(1)
        after = torch.empty_like(state)
        for a in range(len(self.chance)):
            after[action == a] = state[action == a] @ self.chance[a]
        return Imagined(after, reward[None], torch.ones_like(reward)[None])

    def observe(self, state: Tensor) -> Any:
        """The chance of every state.  [R, S] -> [1, R, S]"""
        return state[None]
