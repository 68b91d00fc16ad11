"""Tree search as a textbook has it: one tree of Python objects, one simulation after the other,
formulas written out for one node.

Shares no code with the package but the rules of the game.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from fledge.worlds.games.game import Game


class Node:
    def __init__(self, position: Any) -> None:
        self.position = position  # [1, W]
        self.children: dict[int, Node] = {}
        self.visits: dict[int, int] = {}
        self.total: dict[int, float] = {}  # of player 0
        self.prior: dict[int, float] = {}
        self.turn = 0
        self.value = 0.0
        self.over = False


class PlainSearch:
    """rule: puct or uct. evaluator: as the package's, asked for one position at a time."""

    def __init__(self, game: Game, evaluator: Any, rule: str, exploration: float) -> None:
        self.game, self.evaluator, self.rule, self.c = game, evaluator, rule, exploration

    def open(self, position: Any) -> Node:
        node = Node(position)
        over, result = self.game.outcome(position)
        node.turn, node.over, node.value = (
            int(self.game.turn(position)[0]),
            bool(over[0]),
            result[0],
        )
        if node.over:
            return node
        if node.turn == 2:
            chance = self.game.chance(position)[0]
            node.prior = {k: float(p) for k, p in enumerate(chance) if p > 0}
        else:
            legal = self.game.legal(position)
            prior, value = self.evaluator(position, legal)
            node.prior = {a: float(prior[0, a]) for a in range(len(prior[0])) if legal[0, a]}
            node.value = float(value[0]) * (1 if node.turn == 0 else -1)
        node.visits = dict.fromkeys(node.prior, 0)
        node.total = dict.fromkeys(node.prior, 0.0)
        return node

    def select(self, node: Node) -> int:
        every = sum(node.visits.values())
        best, chosen = -math.inf, -1
        for edge, prior in node.prior.items():
            n = node.visits[edge]
            if node.turn == 2:
                score = prior * (every + 1) - n
            else:
                sign = 1 if node.turn == 0 else -1
                q = sign * node.total[edge] / n if n else sign * node.value
                if self.rule == "puct":
                    score = q + self.c * prior * math.sqrt(max(every, 1)) / (1 + n)
                else:
                    bonus = math.sqrt(math.log(max(every, 1)) / n) if n else math.inf
                    score = q + self.c * bonus
            if score > best:
                best, chosen = score, edge
        return chosen

    def simulate(self, node: Node) -> float:
        if node.over:
            return node.value
        edge = self.select(node)
        if edge not in node.children:
            after = self.game.apply(node.position, np.array([edge]))
            node.children[edge] = self.open(after)
            value = node.children[edge].value
        else:
            value = self.simulate(node.children[edge])
        node.visits[edge] += 1
        node.total[edge] += value
        return value

    def run(self, position: Any, simulations: int) -> Node:
        root = self.open(position)
        for _ in range(simulations):
            self.simulate(root)
        return root


class Opinions:
    """An evaluator whose opinion of a position is a number hashed from it, the same wherever and
    beside whatever it is asked for; or, with `symmetric`, of all positions that are alike.
    """

    def __init__(self, game: Game, symmetric: bool = False) -> None:
        self.game, self.symmetric = game, symmetric

    def number(self, *what: Any) -> float:
        """In 0…1."""
        digest = hashlib.sha256(repr(what).encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def of_position(self, position: Any) -> tuple[int, ...]:
        """Of all positions that are alike the smallest."""
        if not self.symmetric:
            return tuple(position[0].tolist())
        turned = [self.game.turn_board(position, g)[0] for g in range(len(self.game.moves))]
        return min(tuple(t.tolist()) for t in turned)

    def __call__(self, positions: Any, legal: Any) -> tuple[Any, Any]:
        prior, value = np.zeros(legal.shape), np.zeros(len(positions))
        for i in range(len(positions)):
            position = positions[i : i + 1]
            own = self.of_position(position)
            value[i] = 2 * self.number(own) - 1
            for a in np.flatnonzero(legal[i]):
                if self.symmetric:  # an opinion of where the move leads
                    own = self.of_position(self.game.apply(position, np.array([a])))
                prior[i, a] = self.number("prior", own, None if self.symmetric else int(a)) + 0.01
            prior[i] /= prior[i].sum()
        return prior, value
