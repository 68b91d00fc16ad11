"""A world of tables that was counted: how often each action led where and what it paid, and the
posterior over all worlds that this leaves possible.

Chances: Dirichlet with so many pseudo-counts before anything was seen (Strens 2000; Gelman et al.
2013, section 3.4). Payments: normal with a known spread and a normal prior on the mean (Gelman et
al. 2013, eq. 2.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.mdp import MDP

LARGEST = 50_000_000  # numbers of a table of chances: 0.4 GB


@dataclass(frozen=True)
class Prior:
    """What is believed before anything was seen. chances: pseudo-counts of a state and action, even
    over all outcomes. reward, spread: mean and standard deviation of what a step pays on average.
    noise: how far one payment is from that average, a standard deviation.
    """

    chances: float = 1.0
    reward: float = 0.0
    spread: float = 1.0
    noise: float = 0.1


class CountedWorld:
    """S states, A actions; the outcome S is the end of an episode. Pairs are numbered s·A + a.

    outcomes: of each pair that was tried, {state after: how often}, in the order in which they were
    first seen; paid: the sum of its rewards.
    """

    def __init__(self, states: int, actions: int) -> None:
        self.states, self.actions = states, actions
        self.outcomes: dict[int, dict[int, int]] = {}
        self.paid: dict[int, float] = {}
        self.tried: dict[int, int] = {}
        self.pairs: list[int] = []  # that were tried, oldest first

    @property
    def end(self) -> int:
        return self.states

    def see(self, pair: int, reward: float, after: int) -> None:
        """One step."""
        if pair not in self.outcomes:
            self.outcomes[pair], self.paid[pair], self.tried[pair] = {}, 0.0, 0
            self.pairs.append(pair)
        own = self.outcomes[pair]
        own[after] = own.get(after, 0) + 1
        self.paid[pair] += reward
        self.tried[pair] += 1

    def count(self) -> Tensor:
        """How often each action led where.  -> [A, S, S+1] float64

        Raises UserError for a world whose table would be too large.
        """
        size = self.actions * self.states * (self.states + 1)
        if size > LARGEST:
            raise UserError(
                f"the chances of {self.states:,} states and {self.actions} actions would be "
                f"{size:.3g} numbers, and {LARGEST:,} are the most: give algorithm=dyna, which "
                "keeps what it saw alone, or dqn."
            )
        counted = torch.zeros(self.actions, self.states, self.states + 1, dtype=torch.float64)
        for pair, after in self.outcomes.items():
            state, action = divmod(pair, self.actions)
            for place, times in after.items():
                counted[action, state, place] = times
        return counted

    def expect(self, prior: Prior, gamma: float) -> MDP:
        """The mean of the posterior: chances (α + n)/Σ(α + n), mean payments."""
        weight = self._pseudo_counts(prior)
        mean, _ = self._payments(prior)
        return self._as_process(weight / weight.sum(-1, keepdim=True), mean, gamma)

    def draw(self, prior: Prior, gamma: float, generator: torch.Generator) -> MDP:
        """One world out of the posterior: each state's and action's chances, and what it pays, by
        themselves.
        """
        weight = self._pseudo_counts(prior)
        # A Dirichlet is gammas over their sum: torch's own class of it takes no generator.
        gammas = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
            weight, generator=generator
        )
        chance = gammas.clamp(min=1e-300)  # tiny pseudo-counts: all of a row may underflow
        mean, spread = self._payments(prior)
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        chance = chance / chance.sum(-1, keepdim=True)
        return self._as_process(chance, mean + spread * noise, gamma)

    def _pseudo_counts(self, prior: Prior) -> Tensor:
        """[A, S, S+1]"""
        return self.count() + prior.chances / (self.states + 1)

    def _payments(self, prior: Prior) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what each pair pays on average.  -> [S, A] each"""
        times, paid = (torch.zeros(self.states * self.actions).double() for _ in range(2))
        for pair, tried in self.tried.items():
            times[pair], paid[pair] = tried, self.paid[pair]
        exactness = 1 / prior.spread**2 + times / prior.noise**2
        mean = (prior.reward / prior.spread**2 + paid / prior.noise**2) / exactness
        shape = (self.states, self.actions)
        return mean.view(shape), exactness.rsqrt().view(shape)

    def _as_process(self, chance: Tensor, reward: Tensor, gamma: float) -> MDP:
        """With the end as one state more, where nothing is paid.  [A, S, S+1], [S, A]"""
        ends = torch.arange(self.states + 1) == self.states
        last = ends.double().expand(self.actions, 1, -1)
        none = torch.zeros(1, self.actions, dtype=torch.float64)
        return MDP(torch.cat([chance, last], 1), torch.cat([reward, none]), gamma, terminal=ends)

    def state_dict(self) -> dict[str, Any]:
        """In the order in which pairs and their outcomes were first seen, which draws hang on."""
        rows = [
            (pair, after, times)
            for pair in self.pairs
            for after, times in self.outcomes[pair].items()
        ]
        return {
            "rows": torch.tensor(rows, dtype=torch.long).view(-1, 3),
            "paid": torch.tensor([self.paid[pair] for pair in self.pairs], dtype=torch.float64),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.outcomes, self.tried, self.pairs = {}, {}, []
        for pair, after, times in state["rows"].tolist():
            if pair not in self.outcomes:
                self.outcomes[pair], self.tried[pair] = {}, 0
                self.pairs.append(pair)
            self.outcomes[pair][after] = times
            self.tried[pair] += times
        self.paid = dict(zip(self.pairs, state["paid"].tolist(), strict=True))
