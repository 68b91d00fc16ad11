"""What somebody who has looked at some places knows, what they make of the rest, and what the next
look may show.

The world is an arrangement: what stands in each place, no thing twice. Sight is exact, so a belief
follows from the first one and from what was seen: a finite set of belief states, and planning over
it is planning in the belief MDP (Kaelbling, Littman & Cassandra 1998, section 3) without a grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError

UNSEEN, NOTHING = -1, 0
MOST_ARRANGEMENTS = 5_000


@dataclass(frozen=True)
class Knowledge:
    """arrangements: [N, P] long, what stands in each place: 0 nothing, else the thing. states: [K,
    P] long, −1 where one has not looked; the first is of who has looked nowhere.
    """

    arrangements: Tensor
    states: Tensor

    @property
    def consistent(self) -> Tensor:
        """Which arrangements what is known leaves open.  -> [K, N]"""
        known = self.states[:, None]
        return ((known == UNSEEN) | (known == self.arrangements)).all(-1)

    def find(self, known: Tensor) -> Tensor:
        """The number of each.  [..., P] -> [...] long"""
        base = int(self.arrangements.max()) + 2
        powers = base ** torch.arange(known.shape[-1])
        codes = ((self.states + 1) * powers).sum(-1)
        order = codes.argsort()
        return order[torch.searchsorted(codes[order], ((known + 1) * powers).sum(-1))]

    def reveal(self, seen: Tensor) -> Tensor:
        """What is known after a look at the places of `seen`, [P] bool, for all that may be
        there.  -> [K, N] long; of arrangements that are not open it says nothing
        """
        after = torch.where(seen, self.arrangements[None], self.states[:, None])
        after = torch.where(self.states[:, None] == UNSEEN, after, self.states[:, None])
        return self.find(torch.where(self.consistent[..., None], after, self.states[:, None]))

    def believe(self, prior: Tensor) -> Tensor:
        """b(arrangement | known): the prior where it is open. Who is surprised by what had no
        chance takes all that is open for equally likely.  [B, N] -> [B, K, N]
        """
        open_ = self.consistent.double()
        joint = prior[:, None] * open_
        mass = joint.sum(-1, keepdim=True)
        even = open_ / open_.sum(-1, keepdim=True)
        return torch.where(mass > 0, joint / mass.clamp(min=1e-300), even)

    def look(self, belief: Tensor, seen: Tensor) -> Tensor:
        """P(known after | known before) of a look at these places.  [B, K, N], [P] -> [B, K, K]"""
        after = self.reveal(seen).expand_as(belief)
        K = len(self.states)
        return belief.new_zeros(*belief.shape[:2], K).scatter_add(2, after, belief)


def list_knowledge(places: int, things: int) -> Knowledge:
    """Raises UserError where there are too many ways for things to stand."""
    count = (things + 1) ** places
    if count > MOST_ARRANGEMENTS:
        raise UserError(
            f"{things} things in {places} places can stand in up to {count:,} ways, of which "
            f"{MOST_ARRANGEMENTS:,} can be planned for: give fewer of both."
        )
    ways = [way for way in itertools.product(range(things + 1), repeat=places) if not repeats(way)]
    known = [
        state for state in itertools.product(range(UNSEEN, things + 1), repeat=places)
        if not repeats(state)
    ]  # fmt: skip
    return Knowledge(torch.tensor(ways), torch.tensor(known))


def repeats(way: tuple[int, ...]) -> bool:
    """Whether a thing stands in two places."""
    things = [each for each in way if each > NOTHING]
    return len(set(things)) < len(things)
