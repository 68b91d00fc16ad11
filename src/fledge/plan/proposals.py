"""What sequences of actions are drawn from while a planner looks for a good one: chances of every
choice, or a normal distribution of every number, step by step, for B situations at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.world import Choices, Space


@dataclass(frozen=True)
class ChoiceProposal:
    """One of n choices a step. chance: [B, H, n]. floor: of every choice, so that none is ever
    lost.
    """

    chance: Tensor
    floor: float = 0.05

    @property
    def horizon(self) -> int:
        return self.chance.shape[1]

    def draw(self, candidates: int, generator: torch.Generator) -> Tensor:
        """-> [B, N, H] long"""
        B, H, n = self.chance.shape
        drawn = torch.multinomial(
            self.chance.view(B * H, n), candidates, replacement=True, generator=generator
        )
        return drawn.view(B, H, candidates).transpose(1, 2)

    def move(self, sequences: Tensor, weight: Tensor, momentum: float = 0.0) -> Self:
        """Towards how often each was chosen, weighed.  [B, N, H], [B, N] adding up to 1"""
        weight = weight.to(self.chance.dtype)
        chosen = F.one_hot(sequences, self.chance.shape[2]).to(weight.dtype)  # [B, N, H, n]
        often = torch.einsum("bn,bnha->bha", weight, chosen)
        chance = (momentum * self.chance + (1 - momentum) * often).clamp(min=self.floor)
        return replace(self, chance=chance / chance.sum(-1, keepdim=True))

    def middle(self) -> Tensor:
        """The likeliest choices.  -> [B, H]"""
        return self.chance.argmax(-1)

    def shift(self) -> Self:
        """As it is for one step later, of which the last is open."""
        open_ = torch.full_like(self.chance[:, :1], 1 / self.chance.shape[2])
        return replace(self, chance=torch.cat([self.chance[:, 1:], open_], 1))

    def begin_anew(self, which: Tensor) -> Self:
        """Open where `which` [B] says so."""
        every = 1 / self.chance.shape[2]
        return replace(self, chance=torch.where(which[:, None, None], every, self.chance))


@dataclass(frozen=True)
class NumberProposal:
    """Numbers between bounds. mean, spread: [B, H, A]; low, high: [A]. least: the smallest spread
    that is moved to, first: the one that it begins with, as shares of the bounds' distance.
    """

    mean: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor
    first: float = 0.5
    least: float = 0.0

    @property
    def horizon(self) -> int:
        return self.mean.shape[1]

    def draw(self, candidates: int, generator: torch.Generator) -> Tensor:
        """Cut to the bounds.  -> [B, N, H, A]"""
        B, H, A = self.mean.shape
        noise = torch.randn(B, candidates, H, A, generator=generator, dtype=self.mean.dtype)
        drawn = torch.addcmul(self.mean[:, None], self.spread[:, None], noise)
        return drawn.clamp_(self.low, self.high)

    def move(self, sequences: Tensor, weight: Tensor, momentum: float = 0.0) -> Self:
        """Towards the weighed mean and spread.  [B, N, H, A], [B, N] adding up to 1"""
        weight = weight.to(sequences.dtype)
        mean = torch.einsum("bn,bnha->bha", weight, sequences)
        square = (sequences - mean[:, None]).square()
        spread = torch.einsum("bn,bnha->bha", weight, square).sqrt()
        mean = momentum * self.mean + (1 - momentum) * mean
        spread = momentum * self.spread + (1 - momentum) * spread
        return replace(self, mean=mean, spread=torch.maximum(spread, self._share(self.least)))

    def move_mean(self, sequences: Tensor, weight: Tensor) -> Self:
        """Towards the weighed mean, its spread as it was.  [B, N, H, A], [B, N]"""
        return replace(
            self, mean=torch.einsum("bn,bnha->bha", weight.to(sequences.dtype), sequences)
        )

    def middle(self) -> Tensor:
        """-> [B, H, A]"""
        return self.mean

    def shift(self) -> Self:
        """As it is for one step later, of which the last is open; spreads as at first."""
        open_ = ((self.low + self.high) / 2).expand_as(self.mean[:, :1])
        mean = torch.cat([self.mean[:, 1:], open_], 1)
        return replace(self, mean=mean, spread=self._share(self.first).expand_as(mean))

    def begin_anew(self, which: Tensor) -> Self:
        """Open where `which` [B] says so."""
        middle, here = (self.low + self.high) / 2, which[:, None, None]
        spread = torch.where(here, self._share(self.first), self.spread)
        return replace(self, mean=torch.where(here, middle, self.mean), spread=spread)

    def _share(self, of_bounds: float) -> Tensor:
        return of_bounds * (self.high - self.low)


Proposal = ChoiceProposal | NumberProposal


def draw_anything(action: Space, situations: int, generator: torch.Generator) -> Tensor:
    """One action each, every choice or every place between the bounds alike.  -> [B, *A]

    Raises UserError as `propose_anything` does.
    """
    open_ = propose_anything(action, situations, 1)
    if isinstance(open_, ChoiceProposal):
        return open_.draw(1, generator)[:, 0, 0]
    uniform = torch.rand(situations, len(open_.low), generator=generator)
    drawn = open_.low + uniform * (open_.high - open_.low)
    return drawn.view(situations, *action.shape)


def propose_anything(
    action: Space, situations: int, horizon: int, *, first: float = 0.5, least: float = 0.0
) -> Proposal:
    """Every choice alike, or numbers around the middle of their bounds.

    Raises UserError for several choices at once, and for numbers without finite bounds.
    """
    if isinstance(action, Choices):
        if len(action.sizes) != 1:
            raise UserError(
                f"actions {action} are several choices at once, and a plan is of one choice a "
                "step: give algorithm=ppo."
            )
        n = action.sizes[0]
        return ChoiceProposal(torch.full((situations, horizon, n), 1 / n))
    if not action.bounded:
        raise UserError(
            f"actions {action} have no bounds on both sides, between which a planner could look: "
            "give algorithm=ppo."
        )
    low, high = action.low.flatten(), action.high.flatten()
    mean = ((low + high) / 2).expand(situations, horizon, -1).clone()
    return NumberProposal(mean, (first * (high - low)).expand_as(mean), low, high, first, least)
