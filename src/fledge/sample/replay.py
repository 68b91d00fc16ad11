"""A memory of what happened, drawn from again and again: single steps out of trajectories, evenly
or by how much they surprised.

Lin 1992; Mnih et al. 2015, "Methods"; by priority: Schaul et al. 2016; several steps at once:
Sutton & Barto 2018, eq. 7.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fledge.errors import UserError
from fledge.sample.sum_tree import SumTree
from fledge.trajectories import Rows, Trajectories

SMALLEST_SURPRISE = (
    1e-6  # ε of Schaul et al. 2016, §3.3: what is known by heart is still drawn now and then
)
HELD = ("obs", "action", "reward", "terminated", "ended", "chosen")  # [slots, copies, …] each
PLACES = ("head", "filled", "oldest", "count", "highest")


@dataclass(frozen=True)
class Transitions(Rows):
    """N single steps, each with k ≥ 1 rewards behind it and the observation after them."""

    obs: Tensor  # [N, *O]
    action: Tensor  # [N, *A]
    reward: Tensor  # [N]: Σ_{i<k} γ^i r_i
    next_obs: Tensor  # [N, *O]: k steps later, the true last one at an end
    discount: Tensor  # [N]: γ^k
    terminated: Tensor  # [N] bool: the world ended there; what lies beyond a truncation counts
    weight: Tensor  # [N]: importance weight, 1 where all steps were equally likely to be drawn
    index: Tensor  # [N] int64: where the memory keeps the step


@dataclass(frozen=True)
class Surprise:
    """Steps are drawn with P(i) ∝ (|δ_i| + ε)^α (Schaul et al. 2016, eq. 1); new ones as likely as
    the likeliest ever was.

    β, the exponent of the importance weights (N·P(i))^−β, rises in a line from `beta` to 1 over the
    run.
    """

    alpha: float = 0.6
    beta: float = 0.4


class Replay:
    """The last `capacity` steps of all copies together; steps that nobody chose take their room but
    are never drawn.

    Every observation is kept once, as it came (uint8 stays uint8): bytes = capacity × (observation
    + action + 15; 16 to 32 more by surprise). A million pictures of 84 × 84 × 4 are 28 GB. Row i of
    a batch goes on where row i of the last one stopped; where it does not (a world that had to
    begin anew), the last observation is kept too, and nothing reaches across.
    State: all that is held, whose turn it is to be forgotten, and the generator.
    """

    def __init__(
        self, capacity: int, *, generator: torch.Generator, surprise: Surprise | None = None
    ) -> None:
        self.capacity, self.generator, self.surprise = capacity, generator, surprise
        self.copies = 0

    def _allocate(self, obs: NDArray[Any], action: NDArray[Any]) -> None:
        """For steps like these.  [time, copies, *O], [time, copies, *A]"""
        copies = obs.shape[1]
        slots = self.capacity // copies + 1  # one more for what was seen last and not acted upon
        step_bytes = obs[0, 0].nbytes + action[0, 0].nbytes + (47 if self.surprise else 15)
        wanted = slots * copies * step_bytes
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        # Asked here: the system hands out more than it has, and kills the run when it is used.
        if wanted > there:
            raise UserError(
                f"`capacity` is {self.capacity:,} steps with observations of {obs[0, 0].nbytes:,} "
                f"bytes: they want {wanted / 2**30:,.1f} GiB, and this machine has "
                f"{there / 2**30:,.1f}. Lower `capacity`."
            )
        self.copies, self.slots = copies, slots
        size = (slots, copies)
        self.obs = np.zeros(size + obs.shape[2:], obs.dtype)
        self.action = np.zeros(size + action.shape[2:], action.dtype)
        self.reward = np.zeros(size, np.float32)
        self.chosen, self.terminated, self.ended = (np.zeros(size, np.bool_) for _ in range(3))
        self.order = np.zeros(slots * copies, np.int64)  # the steps that can be drawn, oldest first
        self.priorities = SumTree(len(self.order)) if self.surprise else None
        self.head = self.filled = 0  # the slot of what was seen last; how many before it hold steps
        self.oldest = self.count = 0  # in `order`
        self.highest = 1.0  # priority that ever was

    def __len__(self) -> int:
        """How many steps can be drawn."""
        return self.count if self.copies else 0

    def push(self, batch: Trajectories) -> int:
        """Add the steps of a batch and forget the oldest for them.  -> how many were chosen

        Raises UserError for a batch that does not fit in, one of another shape than the first, and
        a capacity beyond the machine's memory.
        """
        # Time comes first here.
        obs, action = batch.obs.transpose(0, 1).numpy(), batch.action.transpose(0, 1).numpy()
        steps = len(action)
        if not self.copies:
            self._allocate(obs, action)
        if obs.shape[1:] != self.obs.shape[1:] or action.shape[1:] != self.action.shape[1:]:
            raise UserError(
                f"a batch of observations {obs.shape[1:]} and actions {action.shape[1:]} was "
                f"given, each with the copies first: this memory holds {self.obs.shape[1:]} and "
                f"{self.action.shape[1:]}. Give every world a memory of its own."
            )
        if steps + 2 > self.slots:
            raise UserError(
                f"a batch of {steps} steps in {self.copies} copies was given, `capacity` is "
                f"{self.capacity}: raise it to {(steps + 1) * self.copies} or more."
            )
        if self.filled and not np.array_equal(self.obs[self.head], obs[0]):
            self._forget_for(1)
            self.head = (
                self.head + 1
            ) % self.slots  # what was seen last stays, and nothing was done there
        self._forget_for(steps)
        place = (self.head + np.arange(steps + 1)) % self.slots
        during, self.head = place[:-1], int(place[-1])
        terminated, chosen = batch.terminated.T.numpy(), batch.chosen.T.numpy()
        self.obs[place], self.action[during], self.reward[during] = (
            obs,
            action,
            batch.reward.T.numpy(),
        )
        self.terminated[during], self.ended[during] = (
            terminated,
            terminated | batch.truncated.T.numpy(),
        )
        self.chosen[during], self.chosen[self.head] = chosen, False
        new = (during[:, None] * self.copies + np.arange(self.copies))[chosen]  # [N], oldest first
        self.order[(self.oldest + self.count + np.arange(len(new))) % len(self.order)] = new
        self.count += len(new)
        if self.priorities:
            self.priorities.set(new, self.highest)
        return len(new)

    def _forget_for(self, steps: int) -> None:
        """Room for so many steps more after `head`: the oldest go where there is none."""
        gone = max(0, self.filled + steps - (self.slots - 1))
        if gone:
            lost = int(self.chosen[(self.head - self.filled + np.arange(gone)) % self.slots].sum())
            if self.priorities:
                self.priorities.set(
                    self.order[(self.oldest + np.arange(lost)) % len(self.order)], 0.0
                )
            self.oldest, self.count = (self.oldest + lost) % len(self.order), self.count - lost
        self.filled += steps - gone

    def draw(self, rows: int, gamma: float, n_step: int = 1, *, gone: float = 0.0) -> Transitions:
        """`rows` steps with replacement, each with the rewards of up to `n_step` steps from there.

        gone: the share of the run that is over, by which the importance weights of surprise come to
            count in full.

        The rewards stop with the episode, and before a step that nobody chose or that has not been
        made yet: what the last of them led to is then `next_obs`. Raises ValueError if there is
        nothing to draw.
        """
        if not len(self):
            raise ValueError("nothing has been pushed yet: there is nothing to draw.")
        if self.priorities:
            index, weight = self._by_surprise(self.priorities, rows, gone)
        else:
            nth = torch.randint(self.count, (rows,), generator=self.generator).numpy()
            index, weight = (
                self.order.take((self.oldest + nth) % len(self.order)),
                np.ones(rows, np.float32),
            )
        if n_step == 1:
            last, reward, discount = (
                index,
                self.reward.take(index),
                np.full(rows, gamma, np.float32),
            )
        else:
            last, reward, discount = self._several(index, gamma, n_step)
        seen, done = (x.reshape(-1, *x.shape[2:]) for x in (self.obs, self.action))
        after = (last + self.copies) % len(self.order)
        drawn = (seen.take(index, 0), done.take(index, 0), reward, seen.take(after, 0), discount)
        return Transitions(
            *map(torch.from_numpy, (*drawn, self.terminated.take(last), weight, index))
        )

    def _several(
        self, index: NDArray[Any], gamma: float, n_step: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The last step that counts, Σ γ^i r_i up to it, and γ^k.  [N] -> [N] each"""
        path = (index[:, None] + self.copies * np.arange(n_step)) % len(self.order)  # [N, n]
        goes_on = ~self.ended.take(path[:, :-1]) & self.chosen.take(path[:, 1:])
        counts = np.ones(path.shape, np.bool_)
        np.logical_and.accumulate(goes_on, 1, out=counts[:, 1:])
        power = gamma ** np.arange(n_step + 1)
        reward = np.where(counts, self.reward.take(path), 0.0) @ power[:-1]
        k = counts.sum(1)
        last = (index + self.copies * (k - 1)) % len(self.order)
        return last, reward.astype(np.float32), power[k].astype(np.float32)

    def _by_surprise(
        self, priorities: SumTree, rows: int, gone: float
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """One step from each of `rows` equal parts of all the priority there is (Schaul et al.
        2016, B.2.1).  -> [N], [N]
        """
        assert self.surprise is not None
        part = torch.rand(rows, generator=self.generator, dtype=torch.float64).numpy() + np.arange(
            rows
        )
        index = priorities.find(np.asarray(part * (priorities.total / rows), np.float64))
        beta = self.surprise.beta + (1 - self.surprise.beta) * min(1.0, gone)
        weight = (priorities.numbers.take(index) * (self.count / priorities.total)) ** -beta
        return index, (weight / weight.max()).astype(np.float32)

    def surprised(self, index: Tensor, error: Tensor) -> None:
        """By how much each step that was drawn last was off, |δ|: how likely it is to be drawn
        again.  [N], [N]
        """
        if self.priorities:
            assert self.surprise is not None
            priority = (error.abs().double().numpy() + SMALLEST_SURPRISE) ** self.surprise.alpha
            self.highest = max(self.highest, float(priority.max()))
            self.priorities.set(index.numpy(), priority)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"generator": self.generator.get_state(), "copies": self.copies}
        if self.copies:
            used = self.slots if self.filled == self.slots - 1 else self.head + 1
            state |= {name: torch.from_numpy(getattr(self, name)[:used]) for name in HELD}
            state |= {name: getattr(self, name) for name in PLACES}
            state |= {"capacity": self.capacity, "order": torch.from_numpy(self.order)}
            state["priorities"] = (
                torch.from_numpy(self.priorities.numbers) if self.priorities else None
            )
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError where the state is that of a memory of another capacity."""
        self.generator.set_state(state["generator"])
        self.copies = state["copies"]
        if not self.copies:
            return
        if state["capacity"] != self.capacity:
            raise UserError(
                f"`capacity` is {self.capacity:,}, that of the saved memory {state['capacity']:,}: "
                "give the same to continue from it."
            )
        self._allocate(state["obs"].numpy(), state["action"].numpy())
        for name in HELD:
            getattr(self, name)[: len(state[name])] = state[name].numpy()
        for name in PLACES:
            setattr(self, name, state[name])
        self.order[:] = state["order"].numpy()
        if self.priorities:
            self.priorities.load(state["priorities"].numpy())
