"""n search trees side by side in arrays: nodes are numbers, and one step of all trees is one
operation of NumPy.

A node of tree i is a row of every array, i · room and on; edges are columns. What is added up is
what player 0 gets, so that nothing changes its sign on the way to the root.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fledge.plan.search.models import Arrived, TreeModel
from fledge.worlds.games.game import Numbers

Nodes = NDArray[np.int64]


class Forest:
    """Trees with a root each, and place for `room` nodes a tree. It grows where that is too
    little.
    """

    def __init__(self, model: TreeModel, roots: Numbers, room: int) -> None:
        """roots: what the model begins from.  [n, *S]"""
        self.model, self.trees, self.room, self.edges = model, len(roots), room, model.edges
        arrived = model.begin(roots)
        size = self.trees * room
        by_edge = (size, self.edges)
        self.state = np.zeros((size, *arrived.state.shape[1:]), dtype=arrived.state.dtype)
        self.turn = np.zeros(size, dtype=np.int8)
        self.ended = np.zeros(size, dtype=bool)
        self.value = np.zeros(size)  # as it was said when the node came
        self.allowed = np.zeros(by_edge, dtype=bool)
        self.prior = np.zeros(by_edge)
        self.visits = np.zeros(by_edge)
        self.total = np.zeros(by_edge)  # of the values of its visits
        self.flying = np.zeros(by_edge)  # visits whose leaves are not evaluated yet
        self.child = np.full(by_edge, -1, dtype=np.int64)
        self.next = np.zeros(size, dtype=np.int64)  # the edge that a simulation takes from here
        self.parent = np.full(size, -1, dtype=np.int64)
        self.waiting = np.zeros(size, dtype=bool)  # for the model to say what it is
        self.root = np.arange(self.trees, dtype=np.int64) * room
        self.used = np.ones(self.trees, dtype=np.int64)  # nodes of each tree
        self.write(self.root, arrived)

    def write(self, nodes: Nodes, arrived: Arrived) -> None:
        self.state[nodes], self.turn[nodes] = arrived.state, arrived.turn
        self.ended[nodes], self.value[nodes] = arrived.ended, arrived.value
        self.allowed[nodes], self.prior[nodes] = arrived.allowed, arrived.prior
        self.waiting[nodes] = False

    def sprout(self, rows: NDArray[np.intp], node: Nodes, edge: NDArray[np.intp]) -> Nodes:
        """A node for an edge that has none, in each of some trees; `grow` says later what it is.
        rows: which trees.  -> their numbers
        """
        if self.used.max() == self.room:
            raise IndexError("a tree is full")
        new = rows * self.room + self.used[rows]
        self.used[rows] += 1
        self.child[node, edge], self.parent[new] = new, node
        self.waiting[new] = True
        return new

    def grow(self, new: Nodes, edge: NDArray[np.intp]) -> None:
        """Ask the model about all nodes that are waiting, at once."""
        parent = self.parent[new]
        self.write(new, self.model.follow(self.state[parent], self.turn[parent], edge))

    def move(self, trees: NDArray[np.intp], edge: NDArray[np.intp]) -> None:
        """What follows an edge of the root is the root, in each of some trees; an edge that was
        never tried leads to a new node. What is beside it is there until `pack`.
        """
        root = self.root[trees]
        bare = self.child[root, edge] < 0
        if bare.any():
            if self.used.max() == self.room:
                self.pack(np.arange(self.trees), self.room + 1)
                root = self.root[trees]
            new = self.sprout(trees[bare], root[bare], edge[bare])
            self.grow(new, edge[bare])
        self.root[trees] = self.child[root, edge]
        self.parent[self.root[trees]] = -1

    def pack(self, trees: NDArray[np.intp], room: int) -> None:
        """Keep these trees alone, and of them what can be reached from the root, in the order in
        which it came, with place for `room` nodes or what there are.
        """
        n = len(trees)
        first = (trees * self.room)[:, None]
        local = first + np.arange(self.room)  # [n, room]
        parent = np.where(self.parent[local] < 0, -1, self.parent[local] - first)
        kept = np.zeros(local.shape, dtype=bool)
        kept[np.arange(n), self.root[trees] - first[:, 0]] = True
        while True:  # once a level of the deepest tree
            below = kept | np.where(parent < 0, False, np.take_along_axis(kept, parent, 1))
            below &= np.arange(self.room) < self.used[trees, None]
            if (below == kept).all():
                break
            kept = below
        used = kept.sum(1)
        room = max(room, int(used.max()))
        row, place = kept.nonzero()
        old = row * self.room + place  # among `local`
        new = row * room + (kept.cumsum(1)[row, place] - 1)
        source = local.reshape(-1)[old]
        renamed = np.full(self.trees * self.room + 1, -1, dtype=np.int64)  # −1 stays −1
        renamed[source] = new
        for name, empty in EMPTY.items():
            before = getattr(self, name)
            after = np.full((n * room, *before.shape[1:]), empty, dtype=before.dtype)
            after[new] = before[source]
            setattr(self, name, after)
        self.child, self.parent = renamed[self.child], renamed[self.parent]
        self.root = renamed[self.root[trees]]
        self.trees, self.room, self.used = n, room, used


# The arrays of nodes, and what stands where there is none.
EMPTY: dict[str, Any] = {
    "state": 0, "turn": 0, "ended": False, "value": 0, "allowed": False, "prior": 0, "visits": 0,
    "total": 0, "flying": 0, "child": -1, "next": 0, "parent": -1, "waiting": False,
}  # fmt: skip
