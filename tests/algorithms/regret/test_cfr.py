"""Regret over the whole tree is the textbook's, history by history, and ends in an equilibrium."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.regret.cfr import CFR_PLUS, CounterfactualRegret
from fledge.plan.game_tree import GameTree, read_tree
from fledge.stopwatch import Stopwatch
from fledge.worlds.poker import Kuhn, Leduc
from tests.plan.hidden_oracle import Strategy, best_pure_answer, list_sets

Settings = CounterfactualRegret.Settings


def run(tree: GameTree, settings: Settings, iterations: int) -> CounterfactualRegret:
    algorithm = CounterfactualRegret(tree, Stopwatch(), settings)
    for _ in range(iterations):
        algorithm.update(None)
    return algorithm


def by_name(algorithm: CounterfactualRegret) -> Strategy:
    """The average, by player and what it knows."""
    tree = algorithm.form.tree
    flat = np.empty(tree.slots)
    for side, own in zip(algorithm.form.sides, algorithm.average_strategies(), strict=True):
        flat[side.tree_slot] = own
    return {
        (one.player, one.name): list(flat[one.first : one.first + len(one.actions)])
        for one in tree.sets
    }


class Textbook:
    """Zinkevich et al. 2007 as a recursion over histories with dictionaries."""

    def __init__(self, game: Any, settings: Settings) -> None:
        self.game, self.s = game, settings
        self.sizes = list_sets(game)
        self.regret = {key: np.zeros(n) for key, n in self.sizes.items()}
        self.sums = {key: np.zeros(n) for key, n in self.sizes.items()}

    def match(self, regret: np.ndarray) -> np.ndarray:
        positive = np.maximum(regret, 0)
        return (
            positive / positive.sum() if positive.sum() > 0 else np.ones(len(regret)) / len(regret)
        )

    def iterate(self, t: int) -> None:
        for players in ((0,), (1,)) if self.s.alternating else ((0, 1),):
            strategy = {key: self.match(regret) for key, regret in self.regret.items()}
            gained = {key: np.zeros(n) for key, n in self.sizes.items()}
            used = {key: np.zeros(n) for key, n in self.sizes.items()}
            self.visit(self.game.begin(), strategy, (1.0, 1.0), 1.0, gained, used)
            for key in self.sizes:
                if key[0] in players:
                    self.regret[key] += gained[key]
                    if self.s.floor:
                        self.regret[key] = np.maximum(self.regret[key], 0)
                    if t > self.s.delay:
                        weight = t - self.s.delay if self.s.averaging == "linear" else 1
                        self.sums[key] += weight * used[key]

    def visit(
        self, state: Any, strategy: Any, own: tuple[float, float], chance: float,
        gained: Any, used: Any,
    ) -> float:  # fmt: skip
        game = self.game
        turn = game.turn(state)
        if turn == -2:
            return game.payoff(state)
        if turn == -1:
            return sum(
                p * self.visit(game.after(state, a), strategy, own, chance * p, gained, used)
                for a, p in enumerate(game.chances(state))
            )
        key = turn, game.information(state)
        worth = []
        for a, p in enumerate(strategy[key]):
            below = (own[0] * p, own[1]) if turn == 0 else (own[0], own[1] * p)
            worth.append(self.visit(game.after(state, a), strategy, below, chance, gained, used))
        value = float(np.dot(strategy[key], worth))
        sign = 1 if turn == 0 else -1
        gained[key] += chance * own[1 - turn] * sign * (np.array(worth) - value)
        # every history of a set has the same own reach: it counts once
        used[key] = own[turn] * np.array(strategy[key])
        return value

    def average(self) -> Strategy:
        return {key: list(self.match(sums)) for key, sums in self.sums.items()}


VARIANTS = [
    Settings(),
    Settings(alternating=False),
    CFR_PLUS,
    CFR_PLUS.replace(delay=3),
    Settings(floor=True, alternating=False),
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_iterations_are_the_textbooks(settings: Settings) -> None:
    textbook, tree = Textbook(Kuhn(), settings), read_tree(Kuhn())
    for t in range(1, 9):
        textbook.iterate(t)
    said, wanted = by_name(run(tree, settings, 8)), textbook.average()
    for key, share in wanted.items():
        assert said[key] == pytest.approx(share, abs=1e-12), key


def test_iterations_on_leduc_are_the_textbooks() -> None:
    textbook = Textbook(Leduc(), CFR_PLUS)
    for t in range(1, 4):
        textbook.iterate(t)
    said, wanted = by_name(run(read_tree(Leduc()), CFR_PLUS, 3)), textbook.average()
    assert max(
        abs(a - b) for key in wanted for a, b in zip(said[key], wanted[key], strict=True)
    ) < 1e-12  # fmt: skip


@pytest.mark.parametrize(("settings", "steps"), [(Settings(), 3000), (CFR_PLUS, 1000)])
def test_kuhn_ends_at_its_value_and_in_its_family_of_equilibria(
    settings: Settings, steps: int
) -> None:
    """Kuhn 1950: −1/18; J is bet with α ≤ 1/3, K with 3α, Q calls with α + 1/3."""
    strategy = by_name(run(read_tree(Kuhn()), settings, steps))
    best = [best_pure_answer(Kuhn(), player, strategy) for player in (0, 1)]
    assert 0 <= (best[0] + best[1]) / 2 < 0.002
    assert best[0] == pytest.approx(-1 / 18, abs=0.003)
    alpha = strategy[0, "J"][1]
    assert -0.01 < alpha < 1 / 3 + 0.02
    assert strategy[0, "K"][1] == pytest.approx(3 * alpha, abs=0.06)
    assert strategy[0, "Q pb"][1] == pytest.approx(alpha + 1 / 3, abs=0.03)
    assert strategy[1, "Q b"][1] == pytest.approx(1 / 3, abs=0.03)
    assert strategy[1, "J p"][1] == pytest.approx(1 / 3, abs=0.03)
    assert strategy[0, "K pb"][1] > 0.99


def test_cfr_plus_is_sooner_near_an_equilibrium_of_leduc() -> None:
    tree = read_tree(Leduc())
    plain, plus = (
        algorithm.form.evaluate(algorithm.average_strategies())
        for algorithm in (run(tree, settings, 150) for settings in (Settings(), CFR_PLUS))
    )
    assert plus["exploitability"] < 0.01 < 0.02 < plain["exploitability"]
    assert plus["game_value"] == pytest.approx(-0.085606424078, abs=0.01)


def test_a_state_that_was_saved_goes_on_with_the_same_bits() -> None:
    tree = read_tree(Leduc())
    whole, half = run(tree, CFR_PLUS, 6), run(tree, CFR_PLUS, 3)
    again = CounterfactualRegret(tree, Stopwatch(), CFR_PLUS)
    again.load_state_dict(half.state_dict())
    for _ in range(3):
        half.update(None)  # what was saved is not what goes on
        again.update(None)
    for name in ("regret", "sums"):
        for a, b in zip(again.state_dict()[name], whole.state_dict()[name], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("settings", [Settings(), CFR_PLUS])
@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker"])
def test_open_spiel_comes_to_the_same_strategies(name: str, settings: Settings) -> None:
    pyspiel: Any = pytest.importorskip("pyspiel")
    cfr: Any = pytest.importorskip("open_spiel.python.algorithms.cfr")
    theirs_of: Any = pytest.importorskip("open_spiel.python.algorithms.exploitability")
    from fledge.worlds.spiel import SpielGame

    game = pyspiel.load_game(name)
    solver = (cfr.CFRPlusSolver if settings.floor else cfr.CFRSolver)(game)
    steps = 3
    for _ in range(steps):
        solver.evaluate_and_update_policy()
    algorithm = run(read_tree(SpielGame(name)), settings, steps)
    told = algorithm.form.evaluate(algorithm.average_strategies())
    theirs = solver.average_policy()
    gain = theirs_of.exploitability(game, theirs)
    assert told["exploitability"] == pytest.approx(gain, abs=1e-9)
    for (player, known), share in by_name(algorithm).items():
        legal = theirs.legal_actions_mask[theirs.state_lookup[known]] == 1
        wanted = theirs.policy_for_key(known)[legal]
        assert share == pytest.approx(wanted, abs=1e-9), (player, known)
