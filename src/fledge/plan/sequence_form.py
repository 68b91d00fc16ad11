"""The sequence form of a game of two (von Stengel 1996): for each player a tree of its own
information sets, and one sparse matrix of payoffs between them. Every pass over a strategy is a few
operations a depth, however many histories there are.

A sequence is what a player did, up to one of its actions; number 0 is the empty one, slot k is
number k + 1 of its side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fledge.plan.game_tree import GameTree


@dataclass(frozen=True)
class Depth:
    """The information sets of one player after as many own actions: numbers `sets` and their slots
    `slots`, both without gaps; first: where each set's slots begin among these.

    parents: the sequences that lead here, each once; begins: where the sets of each begin.
    """

    sets: slice
    slots: slice
    first: np.ndarray
    parents: np.ndarray
    begins: np.ndarray


class Side:
    """One player: I information sets in the order of depth and of the sequence before, K slots.

    before [I]: the sequence that leads to a set. first [I]: its first slot. size [I]. owner [K]:
    the set of a slot. tree_slot [K], tree_set [I]: the numbers that the tree has for them.
    """

    def __init__(self, tree: GameTree, player: int) -> None:
        mine = [(i, one) for i, one in enumerate(tree.sets) if one.player == player]
        own = np.full(tree.slots + 1, -1)  # sequence of a tree's slot
        own[-1] = 0  # where there was no own action before
        self.depths: list[Depth] = []
        sets: list[int] = []
        before: list[int] = []
        slots: list[int] = []
        for depth in range(1 + max((one.depth for _, one in mine), default=-1)):
            here = sorted((own[one.before], i) for i, one in mine if one.depth == depth)
            first, begin = [], len(slots)
            for _, i in here:
                first.append(len(slots) - begin)
                for k in range(tree.sets[i].first, tree.sets[i].first + len(tree.sets[i].actions)):
                    own[k] = len(slots) + 1
                    slots.append(k)
            parents, begins = np.unique([sequence for sequence, _ in here], return_index=True)
            some = slice(len(sets), len(sets) + len(here))
            self.depths.append(
                Depth(some, slice(begin, len(slots)), np.array(first), parents, begins)
            )
            sets += [i for _, i in here]
            before += [int(sequence) for sequence, _ in here]
        self.player = player
        self.before, self.tree_set = np.array(before, np.int64), np.array(sets, np.int64)
        self.tree_slot = np.array(slots, np.int64)
        self.size = np.array([len(tree.sets[i].actions) for i in sets], np.int64)
        self.first = np.cumsum(self.size) - self.size
        self.owner = np.repeat(np.arange(len(sets)), self.size)
        self.sequence = own  # of each slot of the tree, −1 for the other's; the last entry: none

    def realise(self, strategy: np.ndarray) -> np.ndarray:
        """How likely the player's own actions make each sequence.  [K] -> [K+1]"""
        plan = np.empty(len(strategy) + 1)
        plan[0] = 1.0
        reached = self.before[self.owner]
        for depth in self.depths:
            some = depth.slots
            plan[some.start + 1 : some.stop + 1] = plan[reached[some]] * strategy[some]
        return plan

    def look_back(
        self, worth: np.ndarray, choose: Callable[[np.ndarray, Depth], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """worth [K+1]: what ends after each sequence, weighed by how likely chance and the other
        make it; overwritten. choose: the worth of the sets of a depth out of those of its slots.

        -> the worth of every slot [K] and set [I], and of the whole game
        """
        value = np.empty(len(self.first))
        for depth in reversed(self.depths):
            slots = slice(depth.slots.start + 1, depth.slots.stop + 1)
            value[depth.sets] = choose(worth[slots], depth)
            worth[depth.parents] += np.add.reduceat(value[depth.sets], depth.begins)
        return worth[1:], value, float(worth[0])

    def average(self, sums: np.ndarray) -> np.ndarray:
        """Shares within each set, equal ones where there is nothing to share.  [K] -> [K]"""
        if not len(sums):
            return sums.copy()
        total = np.add.reduceat(sums, self.first)[self.owner]
        even = 1 / self.size[self.owner]
        return np.where(total > 0, sums / np.where(total > 0, total, 1.0), even)


class SequenceForm:
    """sides: of both players. The payoff of player 0 is Σ_ij x_i A_ij y_j, A sparse: one entry for
    each pair of sequences after which the game may end.
    """

    def __init__(self, tree: GameTree) -> None:
        self.tree = tree
        self.sides = (Side(tree, 0), Side(tree, 1))
        ends = np.flatnonzero(tree.children == 0)
        rows, columns, worth = self._list_ends(ends)
        width = len(self.sides[1].owner) + 1
        pair, number = np.unique(rows * width + columns, return_inverse=True)
        entries = np.bincount(number, weights=worth)
        self.shape = (len(self.sides[0].owner) + 1, width)
        by_row = np.argsort(pair // width, kind="stable")
        by_column = np.argsort(pair % width, kind="stable")
        self.entries = tuple(
            _Entries(pair[order], width, entries[order], flip)
            for order, flip in ((by_row, False), (by_column, True))
        )

    def _list_ends(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two sequences that lead to each end, and its payoff times what chance made of it."""
        tree = self.tree
        reach = np.ones(len(tree.turn))
        last = np.zeros((2, len(tree.turn)), np.int64)
        for begin, end in zip(tree.starts[1:-1], tree.starts[2:], strict=True):
            above, slot = tree.parent[begin:end], tree.slot[begin:end]
            reach[begin:end] = reach[above] * tree.chance[begin:end]
            for player, side in enumerate(self.sides):
                sequence = np.where(slot >= 0, side.sequence[slot], -1)
                last[player, begin:end] = np.where(sequence > 0, sequence, last[player, above])
        return last[0, ends], last[1, ends], tree.payoff[ends] * reach[ends]

    def weigh_ends(self, player: int, plan: np.ndarray) -> np.ndarray:
        """What ends after each of the player's sequences is worth to it, against a plan of the
        other's [K'+1].  -> [K+1]
        """
        entries = self.entries[player]
        worth = np.zeros(self.shape[player])
        if len(entries.mine):
            worth[entries.mine] = np.add.reduceat(
                entries.worth * plan[entries.other], entries.first
            )
        return worth

    def find_best_response(self, player: int, plan: np.ndarray) -> float:
        """The most that a player can win against a plan of the other's, exactly.  [K'+1]"""
        side = self.sides[player]

        def choose(worth: np.ndarray, depth: Depth) -> np.ndarray:
            return np.maximum.reduceat(worth, depth.first)

        return side.look_back(self.weigh_ends(player, plan), choose)[2]

    def evaluate(self, strategies: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """exploitability: how much a player could win more by a best response, the mean of both;
        game_value: what player 0 wins. In the game's units.
        """
        plans = [side.realise(one) for side, one in zip(self.sides, strategies, strict=True)]
        best = [self.find_best_response(p, plans[1 - p]) for p in (0, 1)]
        value = float(self.weigh_ends(0, plans[1]) @ plans[0])
        return {"exploitability": (best[0] + best[1]) / 2, "game_value": value}


class _Entries:
    """The matrix in the order of one player's sequences: mine, each once; first: where each begins;
    other and worth (to this player) of every entry.
    """

    def __init__(self, pair: np.ndarray, width: int, worth: np.ndarray, flip: bool) -> None:
        own, other = (pair % width, pair // width) if flip else (pair // width, pair % width)
        self.mine, self.first = np.unique(own, return_index=True)
        self.other, self.worth = other, -worth if flip else worth
