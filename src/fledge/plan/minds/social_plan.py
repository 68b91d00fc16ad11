"""Two who walk on one map, of whom the first cares for what the other is paid: plans of both, and
how likely what they did is under each mind (Ullman, Baker, Macindoe, Evans, Goodman & Tenenbaum
2009: R_first = own + ρ × the other's).

They take turns, the first begins. The other takes the first for something that stays where it is;
the first knows that, and what the other wants. Exact: value iteration over all pairs of places, for
all minds in one tensor. S places, G and H goals of the first and of the other, P weights ρ, R of β.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.planned import SETTLED, say_log_policy
from fledge.plan.minds.walk_scene import STAY

MOST_NUMBERS = 20_000_000  # of the first's plans, an action of each
MOVES = STAY + 1


@dataclass(frozen=True)
class Pair:
    """after: [5, S] long, where each move leads on an empty map. gate, plate: [S] bool. goals,
    other_goals: places, −1 for who wants nothing. worth: of each turn at one's goal.
    """

    after: Tensor
    gate: Tensor
    plate: Tensor
    goals: tuple[int, ...]
    other_goals: tuple[int, ...]
    weights: tuple[float, ...]
    rationality: tuple[float, ...]
    worth: float
    step_cost: float
    gamma: float

    def lead(self) -> Tensor:
        """Where somebody at i comes by each move while somebody is at j: not into them, nor into a
        gate unless one of both stands on a plate.  -> [S, S, 5] long
        """
        S = self.after.shape[1]
        here = torch.arange(S)[:, None, None]
        there = self.after.T[:, None].expand(S, S, MOVES)
        pressed = self.plate[:, None] | self.plate
        shut = self.gate[there] & ~pressed[..., None]
        taken = there == torch.arange(S)[None, :, None]
        return torch.where((taken | shut) & (there != here), here, there)

    def pay(self, goals: tuple[int, ...]) -> Tensor:
        """What each place pays a turn.  -> [G, S]"""
        table = torch.zeros(len(goals), self.after.shape[1], dtype=torch.float64)
        for row, goal in enumerate(goals):
            if goal >= 0:
                table[row, goal] = self.worth
        return table

    @property
    def cost(self) -> Tensor:
        """Of each move.  -> [5]"""
        cost = torch.full((MOVES,), self.step_cost, dtype=torch.float64)
        cost[STAY] = 0
        return cost


@dataclass(frozen=True)
class PlannedPair:
    """q: [G, P, H, R, S, S, 5] of the first, by their own place and the other's. other_q: [H, S, S,
    5] of the other, by the first's place and their own.
    """

    pair: Pair
    q: Tensor
    other_q: Tensor
    lead: Tensor

    def log_policy(self, first: int, other: int) -> Tensor:
        """Of the first.  -> [G · P · H · R, 5]"""
        q = self.q[..., first, other, :]
        each = [say_log_policy(q[:, :, :, r], b) for r, b in enumerate(self.pair.rationality)]
        return torch.stack(each, 3).flatten(0, 3)

    def other_log_policy(self, first: int, other: int) -> Tensor:
        """Of the other, once the first has moved.  -> [G · P · H · R, 5]"""
        q = self.other_q[:, first, other]
        each = torch.stack([say_log_policy(q, b) for b in self.pair.rationality], 1)  # [H, R, 5]
        G, P, H, R = self.q.shape[:4]
        return each.expand(G, P, H, R, MOVES).flatten(0, 3)


def plan_pair(pair: Pair) -> PlannedPair:
    """Raises UserError for a scene that is too large to plan in."""
    S = pair.after.shape[1]
    minds = len(pair.goals) * len(pair.weights) * len(pair.other_goals) * len(pair.rationality)
    if minds * S * S * MOVES > MOST_NUMBERS:
        raise UserError(
            f"{minds} minds and {S} places for each of two are {minds * S * S * MOVES:,} numbers, "
            f"of which {MOST_NUMBERS:,} can be planned with: give a smaller map, or fewer goals, "
            "weights or rationalities."
        )
    lead = pair.lead()
    other_q = plan_other(pair, lead)
    return PlannedPair(pair, plan_first(pair, lead, other_q), other_q, lead)


def plan_other(pair: Pair, lead: Tensor) -> Tensor:
    """Q(first, own, move) = pay after it − cost + γ max Q, the first standing still.  -> [H, S, S,
    5]
    """
    there = lead.transpose(0, 1)  # [first, own, move]
    first = torch.arange(len(there))[:, None, None]
    paid = pair.pay(pair.other_goals)[:, there] - pair.cost
    value = torch.zeros_like(paid[..., 0])
    while True:
        q = paid + pair.gamma * value[:, first, there]
        better = q.amax(-1)
        residual, largest = float((better - value).abs().max()), float(better.abs().max())
        value = better
        if residual <= SETTLED * largest:
            return q


def plan_first(pair: Pair, lead: Tensor, other_q: Tensor) -> Tensor:
    """Q(own, other, move) = own pay − cost + E[ρ × the other's pay + γ max Q] over how the other
    then moves.  -> [G, P, H, R, S, S, 5]
    """
    S = lead.shape[0]
    place = torch.arange(S)
    likely = torch.stack([say_log_policy(other_q, b) for b in pair.rationality], 1).exp()
    there = lead.transpose(0, 1)  # of the other, [first, own, move]
    paid = pair.pay(pair.other_goals)[:, there] - pair.cost  # [H, S, S, 5]
    cared = (likely * paid[:, None]).sum(-1)  # [H, R, S, S]
    weights = torch.tensor(pair.weights, dtype=torch.float64)[:, None, None, None, None]
    own = pair.pay(pair.goals)[:, None, None, None, :, None]
    # What a turn pays once the first has moved, by both places.  [G, P, H, R, S, S]
    turn = own + weights * cared
    value = torch.zeros_like(turn)
    while True:
        later = (likely * value[..., place[:, None, None], there]).sum(-1)
        moved = turn + pair.gamma * later
        q = moved[..., lead, place[None, :, None]] - pair.cost
        better = q.amax(-1)
        residual, largest = float((better - value).abs().max()), float(better.abs().max())
        value = better
        if residual <= SETTLED * largest:
            return q
