"""Sampled regrets are on average those of the whole tree, and lead to an equilibrium."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.regret.external_sampling import ExternalSampling
from fledge.plan.game_tree import GameTree, read_tree
from fledge.plan.sampled_walks import pick_by, walk
from fledge.stopwatch import Stopwatch
from fledge.worlds.poker import Kuhn
from tests.plan.hidden_oracle import random_strategy
from tests.worlds.hidden_games import TwoCoins


def flat_strategy(tree: GameTree, game: Any, seed: int) -> np.ndarray:
    strategy = random_strategy(game, seed)
    return np.concatenate([strategy[one.player, one.name] for one in tree.sets])


def exact_regret(game: Any, tree: GameTree, walker: int, strategy: np.ndarray) -> np.ndarray:
    """Σ over histories of a set: what chance and the other make of it, times what each action wins
    more than the strategy; by recursion over the game's own rules.
    """
    first = {(one.player, one.name): one.first for one in tree.sets}
    regret = np.zeros(tree.slots)

    def visit(state: Any, reach: float) -> float:
        turn = game.turn(state)
        if turn == -2:
            return game.payoff(state) * (1 if walker == 0 else -1)
        if turn == -1:
            return sum(
                p * visit(game.after(state, a), reach * p)
                for a, p in enumerate(game.chances(state))
            )
        at, n = first[turn, game.information(state)], len(game.actions(state))
        share = strategy[at : at + n]
        below = [
            visit(game.after(state, a), reach * (1 if turn == walker else p))
            for a, p in enumerate(share)
        ]
        value = float(share @ below)
        if turn == walker:
            regret[at : at + n] += reach * (np.array(below) - value)
        return value

    visit(game.begin(), 1.0)
    return regret


def enumerate_walks(tree: GameTree, walker: int, strategy: np.ndarray) -> Any:
    """Every walk that there is, with its probability: one choice for each history at which chance
    or the other moves; those that the walk does not come to add up to 1 on their own.
    """
    movers = [n for n in range(len(tree.turn)) if tree.children[n] and tree.turn[n] != walker]
    chance = np.where(tree.slot >= 0, strategy[np.maximum(tree.slot, 0)], tree.chance)
    for choice in itertools.product(*(range(tree.children[n]) for n in movers)):
        chosen = dict(zip(movers, choice, strict=True))
        p = np.prod([chance[tree.first_child[n] + a] for n, a in chosen.items()])

        def pick(nodes: np.ndarray, depth: int, chosen: dict[int, int] = chosen) -> np.ndarray:
            return np.array([chosen[int(n)] for n in nodes])

        yield float(p), walk(tree, walker, strategy, 1, pick)


@pytest.mark.parametrize("walker", [0, 1])
def test_the_mean_over_all_walks_is_the_regret_of_the_whole_tree(walker: int) -> None:
    game = TwoCoins()
    tree = read_tree(game)
    strategy = flat_strategy(tree, game, 3)
    walks = list(enumerate_walks(tree, walker, strategy))
    assert sum(p for p, _ in walks) == pytest.approx(1)
    mean = sum(p * one.regret for p, one in walks)
    assert mean == pytest.approx(exact_regret(game, tree, walker, strategy), abs=1e-12)
    assert np.abs(mean).max() > 0.01


@pytest.mark.parametrize("walker", [0, 1])
def test_drawn_walks_through_kuhn_agree_with_the_whole_tree(walker: int) -> None:
    """12 means of 100,000 walks each, seeds fixed; each within 6 standard errors of a number in
    [−4, 4], whose spread is no more than 4: a false alarm in fewer than one of 10⁷.
    """
    game, walks = Kuhn(), 100_000
    tree = read_tree(game)
    strategy = flat_strategy(tree, game, 5)
    draw = np.random.default_rng(1)
    walked = walk(tree, walker, strategy, walks, pick_by(tree, strategy, draw.random))
    wanted = exact_regret(game, tree, walker, strategy)
    assert np.abs(walked.regret / walks - wanted).max() < 6 * 4 / np.sqrt(walks)
    assert np.abs(wanted).max() > 2 * 6 * 4 / np.sqrt(walks)  # nothing drawn would be seen


def test_many_walks_at_a_time_are_each_a_walk() -> None:
    """The same choices in every walk: sums are as many times those of one."""
    game = Kuhn()
    tree = read_tree(game)
    strategy = flat_strategy(tree, game, 2)

    def first(nodes: np.ndarray, depth: int) -> np.ndarray:
        return np.zeros(len(nodes), np.int64)

    one, many = (walk(tree, 0, strategy, n, first) for n in (1, 7))
    assert many.regret == pytest.approx(7 * one.regret)
    assert many.visited.tolist() == (7 * one.visited).tolist()
    assert one.histories > 5


def test_children_are_drawn_as_likely_as_they_are() -> None:
    """10⁴ evenly spaced numbers cut each history's children by their probabilities; a probability
    of 0 is never drawn, whatever the number.
    """
    tree = read_tree(Kuhn())
    strategy = flat_strategy(tree, Kuhn(), 8)
    strategy[tree.sets[0].first : tree.sets[0].first + 2] = (0.0, 1.0)
    chance = np.where(tree.slot >= 0, strategy[np.maximum(tree.slot, 0)], tree.chance)
    even = np.arange(10_000) / 10_000
    for node in np.flatnonzero(tree.children):
        pick = pick_by(tree, strategy, lambda n: even)
        drawn = pick(np.full(10_000, node), 0)
        first, count = tree.first_child[node], tree.children[node]
        share = np.bincount(drawn, minlength=count) / 10_000
        assert share == pytest.approx(chance[first : first + count], abs=2e-4)
        assert not share[chance[first : first + count] == 0].any()


def test_it_comes_near_an_equilibrium_of_kuhn() -> None:
    algorithm = ExternalSampling(read_tree(Kuhn()), Stopwatch(), seed=0)
    before = algorithm.form.evaluate(algorithm.average_strategies())
    for _ in range(400):
        algorithm.update(None)
    after = algorithm.form.evaluate(algorithm.average_strategies())
    # some ten times what seeds come to
    assert after["exploitability"] < 0.04 < before["exploitability"]
    assert after["game_value"] == pytest.approx(-1 / 18, abs=0.04)


def test_a_state_that_was_saved_goes_on_with_the_same_bits() -> None:
    tree = read_tree(Kuhn())
    whole, half, again = (ExternalSampling(tree, Stopwatch(), seed=4) for _ in range(3))
    for _ in range(6):
        whole.update(None)
    for _ in range(3):
        half.update(None)
    again.load_state_dict(half.state_dict())
    for _ in range(3):
        again.update(None)
    for name in ("regret", "sums", "generator"):
        assert torch.equal(again.state_dict()[name], whole.state_dict()[name])
