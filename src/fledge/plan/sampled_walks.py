"""Walks through a game that try every action of one player and draw what chance and the other do:
external sampling (Lanctot et al. 2009, §4), many walks at a time, level by level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fledge.plan.game_tree import GameTree

# of (nodes [F], number of level): a child of each, 0 ≤ number < children
Pick = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Walked:
    """Sums over all walks, a number a slot of the tree. regret: sampled counterfactual regrets of
    the walker's actions; visited: of the other's slots, how often their sets were come to.
    """

    regret: np.ndarray
    visited: np.ndarray
    histories: int


def walk(tree: GameTree, walker: int, strategy: np.ndarray, walks: int, pick: Pick) -> Walked:
    """strategy [slots]: of both; only the walker's is read here, the other's is in `pick`.

    A sampled regret needs no weight: how likely the walk came here is just what the counterfactual
    worth weighs by, and they cancel (Lanctot et al. 2009, eq. 9).
    """
    node = np.zeros(walks, np.int64)
    levels: list[tuple[np.ndarray, np.ndarray]] = []  # histories and their place in the level above
    above = np.full(walks, -1)
    visited = np.zeros(tree.slots)
    depth = 0
    while len(node):
        levels.append((node, above))
        open_ = np.flatnonzero(tree.children[node] > 0)
        own = tree.turn[node[open_]] == walker
        drawn = open_[~own]
        others = drawn[tree.turn[node[drawn]] >= 0]
        if len(others):
            first, count = tree.first_child[node[others]], tree.children[node[others]]
            visited += np.bincount(tree.slot[_spread(first, count)], minlength=tree.slots)
        tried, count = open_[own], tree.children[node[open_[own]]]
        below = [_spread(tree.first_child[node[tried]], count)]
        places = [np.repeat(tried, count)]
        if len(drawn):
            chosen = node[drawn]
            below.append(tree.first_child[chosen] + pick(chosen, depth))
            places.append(drawn)
        node, above = np.concatenate(below), np.concatenate(places)
        depth += 1
    return _add_up(tree, walker, strategy, levels, visited)


def _spread(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, …, count[0] of them, then those of the next."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(first - ends + count, count)


def _add_up(
    tree: GameTree,
    walker: int,
    strategy: np.ndarray,
    levels: list[tuple[np.ndarray, np.ndarray]],
    visited: np.ndarray,
) -> Walked:
    sign = 1.0 if walker == 0 else -1.0
    regret = np.zeros(tree.slots)
    value = np.zeros(0)  # of the level below
    for depth in range(len(levels) - 1, -1, -1):
        node, _ = levels[depth]
        here = np.where(tree.children[node] == 0, sign * tree.payoff[node], 0.0)
        if depth + 1 < len(levels):
            below, above = levels[depth + 1]
            own = tree.turn[node[above]] == walker
            weight = np.where(own, strategy[np.where(own, tree.slot[below], 0)], 1.0)
            here += np.bincount(above, weights=weight * value, minlength=len(node))
            gain = (value - here[above])[own]
            regret += np.bincount(tree.slot[below[own]], weights=gain, minlength=tree.slots)
        value = here
    return Walked(regret, visited, sum(len(node) for node, _ in levels))


def pick_by(tree: GameTree, strategy: np.ndarray, draw: Callable[[int], np.ndarray]) -> Pick:
    """Children drawn by chance's probabilities and a strategy [slots]. draw: so many numbers,
    uniform in [0, 1).
    """
    weight = np.where(tree.slot >= 0, strategy[np.maximum(tree.slot, 0)], tree.chance)
    total = np.cumsum(weight)
    begun = total - weight  # what all histories before have together

    def pick(nodes: np.ndarray, depth: int) -> np.ndarray:
        first, count = tree.first_child[nodes], tree.children[nodes]
        aim = begun[first] + draw(len(nodes)) * (total[first + count - 1] - begun[first])
        # rounding may put the aim onto the very end
        return np.clip(np.searchsorted(total, aim, side="right") - first, 0, count - 1)

    return pick
