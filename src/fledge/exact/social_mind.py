"""Two on a map, one of whom cares for what the other is paid, in Python's own numbers: plans are
expectimax to a depth, posteriors sums over all minds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

Place = tuple[int, int]
Mind = tuple[str, float, str, float]  # what the first wants, ρ, what the other wants, β

MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1), "stay": (0, 0)}


class EnumeratedPair:
    """rows: a map with '#', '|', '_', places, S and T. depth: turns that plans look ahead."""

    def __init__(
        self, rows: Sequence[str], worth: float, cost: float, gamma: float, depth: int
    ) -> None:
        self.signs = {
            (i, j): sign for i, row in enumerate(rows) for j, sign in enumerate(row) if sign != "#"
        }
        self.at = {sign: place for place, sign in self.signs.items() if sign.isalpha()}
        self.worth, self.cost, self.gamma, self.depth = worth, cost, gamma, depth

    def go(self, own: Place, other: Place, move: str) -> Place:
        there = (own[0] + MOVES[move][0], own[1] + MOVES[move][1])
        if there not in self.signs or there == other:
            return own
        pressed = "_" in (self.signs[own], self.signs[other])
        return own if self.signs[there] == "|" and not pressed else there

    def paid(self, goal: str, place: Place, move: str) -> float:
        return self.worth * (self.at.get(goal) == place) - self.cost * (move != "stay")

    @cache  # noqa: B019
    def plan_other(self, goal: str) -> Mapping[tuple[Place, Place], list[float]]:
        """(first, own) -> the value of each move, the first standing still."""
        value = dict.fromkeys(itertools.product(self.signs, self.signs), 0.0)
        q: dict[tuple[Place, Place], list[float]] = {}
        for _ in range(self.depth):
            for first, own in value:
                q[first, own] = []
                for move in MOVES:
                    there = self.go(own, first, move)
                    later = self.gamma * value[first, there]
                    q[first, own].append(self.paid(goal, there, move) + later)
            value = {key: max(q[key]) for key in value}
        return q

    @cache  # noqa: B019
    def plan_first(self, mind: Mind) -> Mapping[tuple[Place, Place], list[float]]:
        """(own, other) -> the value of each move."""
        goal, weight, wanted, beta = mind
        chances = {key: soften(q, beta) for key, q in self.plan_other(wanted).items()}
        value = dict.fromkeys(itertools.product(self.signs, self.signs), 0.0)
        q: dict[tuple[Place, Place], list[float]] = {}
        for _ in range(self.depth):
            for own, other in value:
                q[own, other] = []
                for move in MOVES:
                    there = self.go(own, other, move)
                    total = self.paid(goal, there, move)
                    for chance, reply in zip(chances[there, other], MOVES, strict=True):
                        after = self.go(other, there, reply)
                        total += chance * (
                            weight * self.paid(wanted, after, reply)
                            + self.gamma * value[there, after]
                        )
                    q[own, other].append(total)
            value = {key: max(q[key]) for key in value}
        return q

    def likelihood(self, mind: Mind, path: Sequence[str], other_path: Sequence[str]) -> float:
        answer, plan = self.plan_other(mind[2]), self.plan_first(mind)
        own, other, chance, names = self.at["S"], self.at["T"], 1.0, list(MOVES)
        for move, reply in zip(path, other_path, strict=True):
            chance *= soften(plan[own, other], mind[3])[names.index(move)]
            own = self.go(own, other, move)
            chance *= soften(answer[own, other], mind[3])[names.index(reply)]
            other = self.go(other, own, reply)
        return chance


def soften(q: Sequence[float], beta: float) -> list[float]:
    most = max(q)
    each = [math.exp(beta * (x - most)) for x in q]
    return [x / sum(each) for x in each]
