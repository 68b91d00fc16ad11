"""The tree that a search over tokens grows: one edge a token, with how often it was tried and what
came of it. PUCT chooses where to look next (Rosin 2011; Silver et al. 2017, the mean of what came
back; Schrittwieser et al. 2020, worths between the least and the most seen so far).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

Path = tuple[int, ...]


@dataclass
class Node:
    """A completion so far. tokens [W], logp [W]: how it may go on and how likely the model finds
    that, the likeliest first; none before it is opened. visits, worth [W]: how often each was gone
    through, and the sum of what came back. pending [W]: visits whose worth is not known yet.

    busy: somebody is about to open it. guess: what the completion was thought to be worth as it was
    opened, or is, where it has ended.
    """

    path: Path = ()
    logp_here: float = 0.0  # log π(path)
    ended: bool = False
    busy: bool = False
    stopped: bool = False  # by a stop token, not for want of room
    guess: float | None = None
    tokens: Sequence[int] = ()
    logp: np.ndarray = field(default_factory=lambda: np.empty(0))
    visits: np.ndarray = field(default_factory=lambda: np.empty(0))
    worth: np.ndarray = field(default_factory=lambda: np.empty(0))
    pending: np.ndarray = field(default_factory=lambda: np.empty(0))
    below: dict[int, Node] = field(default_factory=dict)

    @property
    def opened(self) -> bool:
        return len(self.tokens) > 0

    @property
    def share(self) -> np.ndarray:
        """Visit shares of what may follow.  [W]"""
        return self.visits / max(1.0, float(self.visits.sum()))


class TokenTree:
    """room: the most tokens of a completion. stop: tokens that end one. exploration: how much the
    model's probabilities count beside what came back.
    """

    def __init__(self, room: int, stop: frozenset[int], exploration: float) -> None:
        self.room, self.stop, self.exploration = room, stop, exploration
        self.root = Node()
        self.visits = 0  # that came to an end
        self.least, self.most = math.inf, -math.inf  # of all that came back

    def select(self) -> list[tuple[Node, int]] | None:
        """The edges from the root to a node that is not opened or has ended, chosen by PUCT; they
        are pending until `back_up`. None where the node is being looked at already.
        """
        way: list[tuple[Node, int]] = []
        node = self.root
        while node.opened and not node.ended:
            edge = self._choose(node)
            way.append((node, edge))
            if edge not in node.below:
                node.below[edge] = self._grow(node, edge)
            node = node.below[edge]
        if node.busy:
            return None
        node.busy = not node.ended
        for above, edge in way:
            above.pending[edge] += 1
        return way

    def find(self, way: Sequence[tuple[Node, int]]) -> Node:
        """Where a way leads."""
        return way[-1][0].below[way[-1][1]] if way else self.root

    def _grow(self, node: Node, edge: int) -> Node:
        path = (*node.path, node.tokens[edge])
        stopped = path[-1] in self.stop
        ended = stopped or len(path) >= self.room
        return Node(path, node.logp_here + float(node.logp[edge]), ended=ended, stopped=stopped)

    def _choose(self, node: Node) -> int:
        """argmax_a Q(a) + c P(a) √(1 + Σ_b N(b)) / (1 + N(a)), Q between 0 and 1, P over the W
        that are looked at; pending visits count in N (Liu et al. 2020). What was never tried is
        thought to be worth what the node was.
        """
        tried = node.visits + node.pending
        prior = np.exp(node.logp - node.logp.max())
        prior /= prior.sum()
        # the sum over visits is 0 at first, when the likeliest is to be taken
        bonus = self.exploration * prior * math.sqrt(1 + tried.sum()) / (1 + tried)
        return int((self._scale(self.estimate(node)) + bonus).argmax())

    def estimate(self, node: Node) -> np.ndarray:
        """The mean worth of each edge, the node's own where there was no visit.  [W]"""
        guess = 0.0 if node.guess is None else node.guess
        tried = node.visits > 0
        return np.where(tried, node.worth / np.where(tried, node.visits, 1.0), guess)

    def _scale(self, worth: np.ndarray) -> np.ndarray:
        spread = self.most - self.least
        return (worth - self.least) / spread if spread > 0 else np.zeros(len(worth))

    def open(self, node: Node, alternatives: Sequence[tuple[int, float]]) -> None:
        """How the node may go on: (token, log π) of each, likeliest first."""
        if node.opened:
            return
        node.busy = False
        node.tokens = [token for token, _ in alternatives]
        node.logp = np.array([logp for _, logp in alternatives])
        node.visits, node.worth, node.pending = (np.zeros(len(node.tokens)) for _ in range(3))

    def back_up(self, way: Sequence[tuple[Node, int]], worth: float) -> None:
        """What came of looking there, into every edge of the way."""
        self.visits += 1
        self.least, self.most = min(self.least, worth), max(self.most, worth)
        for node, edge in way:
            node.pending[edge] -= 1
            node.visits[edge] += 1
            node.worth[edge] += worth

    def nodes(self) -> Iterator[Node]:
        """All that were grown, those above before those below."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += [node.below[edge] for edge in sorted(node.below, reverse=True)]


def weigh_by_visits(tree: TokenTree) -> dict[Path, float]:
    """N(edge) / N(root) of every edge that was gone through, by where it leads: how often the edge
    would be said by who follows visit shares, token by token (Silver et al. 2017, τ = 1).
    """
    total = float(tree.root.visits.sum())
    return {
        (*node.path, node.tokens[edge]): float(node.visits[edge]) / total
        for node in tree.nodes()
        for edge in np.flatnonzero(node.visits > 0).tolist()
    }


def weigh_by_worth(tree: TokenTree, beta: float) -> dict[Path, float]:
    """How often every edge would be said by the policy that is best for E[worth] − β KL(π* ‖ π),
    as far as the tree knows: π*(a) ∝ π(a) exp(Q(a)/β), Q(a) soft below, the guess where nothing
    was opened (Xiao et al. 2019, eq. 6, with the model as prior). Of a tree that is exhausted this
    is the optimum itself.
    """
    soft: dict[Path, np.ndarray] = {}

    def look(node: Node) -> float:
        """β log Σ_a π(a) exp(Q(a)/β) below the node."""
        guess = 0.0 if node.guess is None else node.guess
        if node.ended or not node.opened:
            return guess
        worth = np.full(len(node.tokens), guess)
        for edge, child in node.below.items():
            if child.guess is not None:
                worth[edge] = look(child)
        score = node.logp + worth / beta
        top = score.max()
        total = top + math.log(np.exp(score - top).sum())
        soft[node.path] = np.exp(score - total)
        # what is not among the W counts as if it were like them
        inside = float(np.logaddexp.reduce(node.logp))
        return beta * (total - inside)

    look(tree.root)
    edges: dict[Path, float] = {}
    reach: dict[Path, float] = {(): 1.0}
    for node in tree.nodes():
        if node.path not in soft or node.path not in reach:
            continue
        for edge, share in enumerate(soft[node.path].tolist()):
            path = (*node.path, node.tokens[edge])
            edges[path] = reach[path] = reach[node.path] * share
    return edges
