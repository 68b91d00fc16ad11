"""What a tree grows by: the rules of a game, or a learned model of them.

A model says where an edge leads and what an evaluator thinks of it. The evaluator is asked once for
all the leaves of all the trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fledge.worlds.games.game import CHANCE, Game, Numbers, mover_sign


@dataclass(frozen=True)
class Arrived:
    """N nodes that were not there before. E is the number of edges: moves, or outcomes of chance.

    value: what player 0 gets in the end, as far as anybody knows. prior: how likely each edge is
    thought to be taken, 0 where it is not allowed; at chance nodes how likely it is.
    """

    state: Numbers  # [N, *S]
    turn: NDArray[np.int8]  # [N]
    ended: NDArray[np.bool_]  # [N]
    value: NDArray[np.float64]  # [N]
    allowed: NDArray[np.bool_]  # [N, E]
    prior: NDArray[np.float64]  # [N, E]


class Evaluator(Protocol):
    """What positions are worth and what may be tried in them, by a network, by playing on, or by
    nobody's opinion.
    """

    def __call__(self, positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """The chance of each action, 0 where it is not legal, and what the player whose turn it is
        gets.  [N, W], [N, A] -> [N, A], [N]
        """
        ...


class TreeModel(Protocol):
    """edges: the most that a node may have. known: whether its states are the game's own. chance:
    whether there are nodes where dice fall.
    """

    edges: int
    known: bool
    chance: bool
    actions: int

    def begin(self, roots: Numbers) -> Arrived: ...
    def follow(self, states: Numbers, turn: Numbers, edge: NDArray[np.intp]) -> Arrived:
        """[N, *S], [N], [N] -> what is there"""
        ...

    def forget(self) -> None:
        """The network has changed: what is remembered of its answers is out of date."""
        ...


class KnownModel:
    """By the rules: states are positions."""

    known = True

    def __init__(self, game: Game, evaluator: Evaluator) -> None:
        self.game, self.evaluator = game, evaluator
        self.actions, self.edges = game.actions, max(game.actions, game.outcomes)
        self.chance = game.outcomes > 0

    def begin(self, roots: Numbers) -> Arrived:
        """[N, W] -> [N]"""
        game = self.game
        turn = game.turn(roots)
        ended, value = game.outcome(roots)
        allowed = np.zeros((len(roots), self.edges), dtype=bool)
        prior = np.zeros((len(roots), self.edges))
        falls = ~ended & (turn == CHANCE)
        open_now = ~ended & ~falls if game.outcomes else ~ended
        if game.outcomes and falls.any():
            prior[falls, : game.outcomes] = game.chance(roots[falls])
            allowed[falls] = prior[falls] > 0
        if open_now.all():  # no copies where there need be none
            legal = game.legal(roots)
            chance, worth = self.evaluator(roots, legal)
            allowed[:, : game.actions], prior[:, : game.actions] = legal, chance
            value = worth * mover_sign(turn)
        elif open_now.any():
            legal = game.legal(roots[open_now])
            chance, worth = self.evaluator(roots[open_now], legal)
            allowed[open_now, : game.actions], prior[open_now, : game.actions] = legal, chance
            value = value.copy()
            value[open_now] = worth * mover_sign(turn[open_now])
        return Arrived(roots, turn, ended, value, allowed, prior)

    def follow(self, states: Numbers, turn: Numbers, edge: NDArray[np.intp]) -> Arrived:
        return self.begin(self.game.apply(states, edge))

    def forget(self) -> None:
        # An evaluator may be a plain function, which remembers nothing.
        forget = getattr(self.evaluator, "forget", None)
        if forget is not None:
            forget()


def evenly(positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Nobody's opinion: every legal action alike, worth a draw."""
    return legal / legal.sum(1, keepdims=True), np.zeros(len(legal))


class Rollouts:
    """By playing on to the end, both sides at random: all positions together, `each` games of every
    one. Its random numbers are state.
    """

    def __init__(self, game: Game, each: int = 1, seed: int = 0) -> None:
        self.game, self.each = game, each
        self.draw = np.random.Generator(np.random.PCG64(seed))

    def __call__(self, positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        game = self.game
        mover = mover_sign(game.turn(positions))
        playing = np.repeat(positions, self.each, 0)
        result = np.zeros(len(playing))
        rows = np.arange(len(playing))
        while len(rows):
            over, value = game.outcome(playing)
            if over.any():
                result[rows[over]] = value[over]
                rows, playing = rows[~over], playing[~over]
                if not len(rows):
                    break
            playing = game.apply(playing, self.choose(playing))
        worth = result.reshape(-1, self.each).mean(1) * mover
        return legal / legal.sum(1, keepdims=True), worth

    def choose(self, playing: Numbers) -> NDArray[np.intp]:
        """Any legal action, or an outcome by its chance.  [N, W] -> [N]"""
        game, draw = self.game, self.draw.random((len(playing), 1))
        legal = game.legal(playing)
        upto = legal.cumsum(1)
        chosen = (upto > draw * upto[:, -1:]).argmax(1)
        if game.outcomes:
            falls = game.turn(playing) == CHANCE
            if falls.any():
                upto = game.chance(playing[falls]).cumsum(1)
                chosen[falls] = (upto > draw[falls] * upto[:, -1:]).argmax(1)
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """JSON holds such large numbers only as text."""
        state: Any = self.draw.bit_generator.state
        words = {name: str(number) for name, number in state["state"].items()}
        return {**state, "state": words}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        words = {name: int(number) for name, number in state["state"].items()}
        self.draw.bit_generator.state = {**state, "state": words}
