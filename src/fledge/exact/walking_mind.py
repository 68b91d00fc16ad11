"""Inverse planning by plain recursion in Python's own numbers: arrangements are listed, plans are
expectimax to a depth, posteriors are sums over all minds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

Place = tuple[int, int]
Mind = tuple[int, int, float]  # belief, want, β
Known = tuple[tuple[Any, ...], ...]

ACTS = ("up", "right", "down", "left", "stay", "take")
MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1), "stay": (0, 0)}


def crosses(start: tuple[int, int], end: tuple[int, int], cell: tuple[int, int]) -> bool:
    """Whether the open square of the cell holds a part of the line between two middles: by clipping
    in fractions (Liang & Barsky 1984).
    """
    low, high = Fraction(0), Fraction(1)
    for axis in (0, 1):
        first, last = Fraction(2 * start[axis] + 1, 2), Fraction(2 * end[axis] + 1, 2)
        if first == last:
            if not cell[axis] < first < cell[axis] + 1:
                return False
            continue
        ends = sorted(((cell[axis] - first) / (last - first),
                       (cell[axis] + 1 - first) / (last - first)))  # fmt: skip
        low, high = max(low, ends[0]), min(high, ends[1])
    return low < high


class EnumeratedScene:
    """rows: of the map. truth: place -> thing or None. wants: thing -> worth each. beliefs: a
    function arrangement -> weight each. An arrangement is a tuple of thing or None by place.
    """

    def __init__(
        self, rows: Sequence[str], things: Sequence[str], truth: dict[str, str],
        wants: Sequence[dict[str, float]], beliefs: Sequence[Callable[[dict[str, Any]], float]],
        cost: float, gamma: float, depth: int,
    ) -> None:  # fmt: skip
        self.rows, self.cost, self.gamma, self.depth = rows, cost, gamma, depth
        cells = {(i, j): sign for i, row in enumerate(rows) for j, sign in enumerate(row)}
        self.floor = {at for at, sign in cells.items() if sign not in "#="}
        self.hiding = [at for at, sign in cells.items() if sign in "#%"]
        [self.start] = [at for at, sign in cells.items() if sign == "S"]
        self.at = {sign: at for at, sign in sorted(cells.items()) if sign.islower()}
        self.places = sorted(self.at)
        self.truth = tuple(truth.get(place) for place in self.places)
        self.wants, self.beliefs = wants, beliefs
        self.arrangements = [
            way for way in itertools.product([None, *things], repeat=len(self.places))
            if len([x for x in way if x]) == len({x for x in way if x})
        ]  # fmt: skip

    def sees(self, where: tuple[int, int], place: str) -> bool:
        end = self.at[place]
        return not any(
            crosses(where, end, cell) for cell in self.hiding if cell not in (where, end)
        )

    def look(self, where: Place, way: Sequence[Any], known: Known) -> Known:
        """known: a tuple of (thing or None,) where one has looked, and () elsewhere."""
        return tuple(
            (way[i],) if self.sees(where, place) else known[i]
            for i, place in enumerate(self.places)
        )

    def go(self, where: Place, act: str) -> Place:
        there = (where[0] + MOVES[act][0], where[1] + MOVES[act][1])
        return there if there in self.floor else where

    def open_ways(self, belief: int, known: Known) -> list[tuple[tuple[Any, ...], float]]:
        ways = [
            way for way in self.arrangements
            if all(seen == () or seen == (x,) for seen, x in zip(known, way, strict=True))
        ]  # fmt: skip
        weights = [self.beliefs[belief](dict(zip(self.places, way, strict=True))) for way in ways]
        if sum(weights) == 0:
            weights = [1.0] * len(ways)
        return [(way, weight / sum(weights)) for way, weight in zip(ways, weights, strict=True)]

    def take(self, want: int, where: Place, known: Known) -> float:
        for i, place in enumerate(self.places):
            if self.at[place] == where and known[i] not in ((), (None,)):
                return self.wants[want][known[i][0]]
        return -math.inf

    @cache  # noqa: B019
    def q(self, belief: int, want: int, where: Place, known: Known, depth: int) -> list[float]:
        """Of all six actions, with so many to go; standing still for ever comes after."""
        listed = []
        for act in ACTS[:5]:
            there, total = self.go(where, act), 0.0
            for way, chance in self.open_ways(belief, known):
                if chance:
                    after = self.look(there, way, known)
                    total += chance * self.value(belief, want, there, after, depth - 1)
            listed.append(-self.cost + self.gamma * total)
        return [*listed, self.take(want, where, known)]

    def value(self, belief: int, want: int, where: Place, known: Known, depth: int) -> float:
        if depth == 0:
            return max(-self.cost / (1 - self.gamma), self.take(want, where, known))
        return max(self.q(belief, want, where, known, depth))

    @cache  # noqa: B019
    def policy(self, mind: Mind, where: Place, known: Known) -> list[float]:
        belief, want, beta = mind
        q = self.q(belief, want, where, known, self.depth)
        best = max(q)
        if beta == math.inf:
            chosen = [float(x >= best - 1e-9) for x in q]
        else:
            chosen = [math.exp(beta * (x - best)) for x in q]
        return [x / sum(chosen) for x in chosen]

    def begin(self) -> tuple[Place, Known]:
        return self.start, self.look(self.start, self.truth, ((),) * len(self.places))

    def follow(self, path: Sequence[str]) -> Iterator[tuple[Place, Known, int]]:
        where, known = self.begin()
        for act in path:
            yield where, known, ACTS.index(act)
            if act != "take":
                where = self.go(where, act)
                known = self.look(where, self.truth, known)

    def likelihood(self, mind: Mind, path: Sequence[str]) -> float:
        return math.prod(
            self.policy(mind, where, known)[act] for where, known, act in self.follow(path)
        )

    def changing_likelihood(
        self, belief: int, beta: float, chances: Sequence[float], change: float,
        path: Sequence[str],
    ) -> list[float]:  # fmt: skip
        """P(path, last want) over all sequences of wants, each kept or drawn anew."""
        steps, wants = list(self.follow(path)), range(len(chances))
        totals = [0.0] * len(chances)
        for sequence in itertools.product(wants, repeat=len(steps)):
            chance = chances[sequence[0]]
            for before, after in itertools.pairwise(sequence):
                chance *= change * chances[after] + (1 - change) * (before == after)
            for want, (where, known, act) in zip(sequence, steps, strict=True):
                chance *= self.policy((belief, want, beta), where, known)[act]
            totals[sequence[-1]] += chance
        return totals

    def earned_alone(self, mind: Mind, steps: int) -> float:
        """E Σ γ^t r_t of somebody who acts by their policy for so many steps."""

        @cache
        def earn(where: Place, known: Known, left: int) -> float:
            if not left:
                return 0.0
            chances, total = self.policy(mind, where, known), 0.0
            for act, chance in zip(ACTS, chances, strict=True):
                if act == "take":
                    total += chance * self.take(mind[1], where, known) if chance else 0.0
                else:
                    there = self.go(where, act)
                    after = self.look(there, self.truth, known)
                    total += chance * (self.gamma * earn(there, after, left - 1) - self.cost)
            return total

        return earn(*self.begin(), steps)
