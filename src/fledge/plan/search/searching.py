"""Monte-Carlo tree search for many positions at a time: every simulation goes down all the trees
together, and all leaves are evaluated in one call.

With `leaves` above 1 a tree hands in several leaves a call: until they are evaluated, each edge on
the way counts as visited and lost (virtual loss; Chaslot et al. 2008), so that the next way is
another. Trees never see each other: the answer for a position does not depend on what is searched
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError
from fledge.plan.search.forest import Forest, Nodes
from fledge.plan.search.models import TreeModel
from fledge.plan.search.selecting import (
    NEVER,
    chance_score,
    gumbel_inner_score,
    improved_logits,
    mix_value,
    puct_score,
    softmax,
    table_of_halvings,
    uct_score,
)
from fledge.worlds.games.game import CHANCE, Numbers, mover_sign

Rule = Literal["puct", "uct", "gumbel"]


@dataclass(frozen=True)
class SearchSettings:
    """simulations: of each search, those that a kept tree has already among them. exploration: c of
    UCT and PUCT. leaves: of a tree in one call of the evaluator.

    noise, noise_alpha: PUCT's at the root, (1 − noise) P + noise Dirichlet(noise_alpha).
    considered: actions that Gumbel's root begins with; gumbel_scale 0: without chance.
    visit_offset, value_scale: c_visit and c_scale of its σ.
    """

    simulations: int = 100
    rule: Rule = "puct"
    exploration: float = 1.5
    leaves: int = 1
    noise: float = 0.0
    noise_alpha: float = 1.0
    considered: int = 16
    gumbel_scale: float = 1.0
    visit_offset: float = 50.0
    value_scale: float = 1.0


@dataclass(frozen=True)
class Searched:
    """What came of n searches; all as the player whose turn it is sees it.

    policy: what a network is taught, the share of the visits or Gumbel's improved policy. action:
    the one to play, without any more chance than the search had.
    """

    visits: Numbers  # [n, A]
    q: Numbers  # [n, A], 0 where it was not tried
    value: NDArray[np.float64]  # [n]: the mean of all simulations; of Gumbel's, by its policy
    policy: NDArray[np.float64]  # [n, A]
    action: NDArray[np.intp]  # [n]


@dataclass(frozen=True)
class Descent:
    """One way down in each of some trees: the edges of all of them in one list, whose `tree`
    says which of the leaves they lead to.
    """

    node: Nodes  # [edges]
    edge: NDArray[np.intp]  # [edges]
    tree: NDArray[np.intp]  # [edges], among the leaves
    leaf: Nodes  # [trees]
    new: Nodes  # nodes that this way made, and by which edges
    new_edge: NDArray[np.intp]


class Search:
    """Its random numbers (noise at the root) are state."""

    def __init__(self, model: TreeModel, settings: SearchSettings, seed: int = 0) -> None:
        if settings.simulations < 1 or settings.leaves < 1:
            raise UserError(
                f"simulations={settings.simulations}, leaves={settings.leaves}: give 1 or more."
            )
        self.model, self.settings = model, settings
        self.draw = np.random.Generator(np.random.PCG64(seed))
        self.gumbels: Any = None  # [n, E], of the present search
        self.halvings = table_of_halvings(
            min(settings.considered, model.actions), settings.simulations
        )
        self.root_prior: Any = None  # [n, E]: with its noise, where it has any

    def plant(self, roots: Numbers) -> Forest:
        """A tree for each position. Raises UserError for the end of a game: nothing is to be
        searched there.  [n, *S]
        """
        forest = Forest(self.model, roots, self.settings.simulations + 2)
        if forest.ended[forest.root].any():
            raise UserError("a search was asked for at the end of a game: give a position before.")
        return forest

    @property
    def reuses(self) -> bool:
        """Whether what was searched for one move serves the next. Sequential halving begins with
        no visits; and a learned model's root is what was really seen.
        """
        return self.settings.rule != "gumbel" and self.model.known

    def pack(self, forest: Forest, trees: NDArray[np.intp]) -> None:
        """Room for the next search in these trees, after `forest.move`."""
        forest.pack(trees, self.settings.simulations + 2)

    def run(self, forest: Forest) -> Searched:
        """Simulate until each root has its visits."""
        s = self.settings
        self.prepare(forest)
        while True:
            left = s.simulations - forest.visits[forest.root].sum(1)
            most = min(s.leaves, int(left.max()))
            if most <= 0:
                return self.conclude(forest)
            ways = [
                self.descend(forest, np.flatnonzero(left > way), flying=most > 1)
                for way in range(most)
            ]
            if most == 1:
                new, edge = ways[0].new, ways[0].new_edge
            else:
                new = np.concatenate([way.new for way in ways])
                edge = np.concatenate([way.new_edge for way in ways])
            if len(new):
                forest.grow(new, edge)
            for way in ways:
                worth = forest.value[way.leaf][way.tree]
                forest.visits[way.node, way.edge] += 1
                forest.total[way.node, way.edge] += worth
                if most > 1:
                    forest.flying[way.node, way.edge] -= 1
            goes_on = new[~forest.ended[new]]
            self.decide(forest, np.concatenate([*(way.node for way in ways), goes_on]))

    def prepare(self, forest: Forest) -> None:
        """The chance of this search: noise in PUCT's prior, or Gumbel's numbers."""
        s, root = self.settings, forest.root
        self.root_prior = None
        shape = (forest.trees, forest.edges)
        if s.rule == "gumbel":
            self.gumbels = s.gumbel_scale * self.draw.gumbel(size=shape)
        elif s.rule == "puct" and s.noise > 0:
            drawn = self.draw.gamma(s.noise_alpha, size=shape) * forest.allowed[root]
            drawn /= np.maximum(drawn.sum(1, keepdims=True), np.finfo(np.float64).tiny)
            chance = (forest.turn[root] == CHANCE)[:, None]
            mixed = (1 - s.noise) * forest.prior[root] + s.noise * drawn
            self.root_prior = np.where(chance, forest.prior[root], mixed)
        self.decide(forest, root)

    def descend(self, forest: Forest, trees: NDArray[np.intp], flying: bool) -> Descent:
        """From the roots to the first node that was not there, is an end, or is waiting."""
        leaf = np.empty(len(trees), dtype=np.int64)
        index, rows, node = np.arange(len(trees)), trees, forest.root[trees]
        levels, new, new_edge = [], [], []
        while True:
            edge = forest.next[node]
            levels.append((node, edge, index))
            below = forest.child[node, edge]
            fresh = below < 0
            if fresh.any():
                made = forest.sprout(rows[fresh], node[fresh], edge[fresh])
                below[fresh] = made
                new.append(made)
                new_edge.append(edge[fresh])
            # what is waiting includes what has just come
            stops = forest.ended[below] | forest.waiting[below]
            leaf[index[stops]] = below[stops]
            goes = ~stops
            index, rows, node = index[goes], rows[goes], below[goes]
            if not len(index):
                break
        nodes, edges, which = (np.concatenate(part) for part in zip(*levels, strict=True))
        if flying:
            forest.flying[nodes, edges] += 1
            self.decide(forest, nodes)
        none = np.zeros(0, dtype=np.int64)
        return Descent(
            nodes, edges, which, leaf,
            np.concatenate(new) if new else none, np.concatenate(new_edge) if new else none,
        )  # fmt: skip

    def decide(self, forest: Forest, node: Nodes) -> None:
        """The edge that the next simulation takes from each of these nodes. It hangs on what the
        node itself has seen: so a simulation that was counted changes only the nodes on its way,
        and those of all depths and all trees are decided at once.  [k]
        """
        s, allowed = self.settings, forest.allowed[node]
        turn, at_root = forest.turn[node], forest.parent[node] < 0
        rows = node[at_root] // forest.room
        sign = mover_sign(turn)
        n, won = forest.visits[node], sign[:, None] * forest.total[node]
        if s.leaves > 1:
            lost = forest.flying[node]
            n, won = n + lost, won - lost
        q = won / np.maximum(n, 1)
        if s.rule == "uct":
            score = uct_score(q, n, allowed, s.exploration)
        else:
            prior = forest.prior[node]
            value = sign * forest.value[node]
            if s.rule == "puct":
                if self.root_prior is not None:
                    prior[at_root] = self.root_prior[rows]
                score = puct_score(q, n, prior, value, allowed, s.exploration)
            else:
                improved = improved_logits(
                    q, n, prior, value, allowed, s.visit_offset, s.value_scale
                )
                score = gumbel_inner_score(improved, n, allowed)
                score[at_root] = self.halve(n[at_root], improved[at_root], allowed[at_root], rows)
        if self.model.chance and (falls := turn == CHANCE).any():
            score[falls] = chance_score(n[falls], forest.prior[node[falls]], allowed[falls])
        forest.next[node] = score.argmax(1)

    def halve(
        self, n: Numbers, improved: Numbers, allowed: Numbers, rows: NDArray[np.intp]
    ) -> Numbers:
        """Gumbel's root: the best by g + log π + σ(q) of those whose turn it is in the halving.
        [k, E] -> [k, E]
        """
        considered = np.minimum(allowed.sum(1), len(self.halvings) - 1)
        last = self.halvings.shape[1] - 1
        tried = self.halvings[considered, np.minimum(n.sum(1), last).astype(np.int64)]
        return np.where(n == tried[:, None], self.gumbels[rows] + improved, NEVER)

    def conclude(self, forest: Forest) -> Searched:
        s, root, actions = self.settings, forest.root, self.model.actions
        sign = mover_sign(forest.turn[root])
        n = forest.visits[root]
        q = sign[:, None] * forest.total[root] / np.maximum(n, 1)
        value = sign * forest.total[root].sum(1) / n.sum(1)
        if s.rule == "gumbel":
            prior, own = forest.prior[root], sign * forest.value[root]
            allowed = forest.allowed[root]
            improved = improved_logits(q, n, prior, own, allowed, s.visit_offset, s.value_scale)
            policy = softmax(improved)
            # Its visits go to all that is considered, so their mean is not what it will get.
            value = (policy * np.where(n > 0, q, mix_value(q, n, prior, own)[:, None])).sum(1)
            final = np.where(n == n.max(1, keepdims=True), self.gumbels + improved, NEVER)
        else:
            policy = n / n.sum(1, keepdims=True)
            final = n + (1 + q) / 4  # the more visits; of as many the better
        final = np.where(forest.allowed[root], final, NEVER)[:, :actions]
        return Searched(n[:, :actions], q[:, :actions], value, policy[:, :actions], final.argmax(1))

    def state_dict(self) -> dict[str, Any]:
        state: Any = self.draw.bit_generator.state
        return {**state, "state": {name: str(x) for name, x in state["state"].items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        words = {name: int(x) for name, x in state["state"].items()}
        self.draw.bit_generator.state = {**state, "state": words}
