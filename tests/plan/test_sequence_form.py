"""The sequence form gives what every history, every pure strategy and a linear program give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.plan.game_tree import GameTree, read_tree
from fledge.plan.sequence_form import SequenceForm
from fledge.worlds.poker import Kuhn, Leduc
from tests.plan.hidden_oracle import (
    Strategy,
    best_pure_answer,
    list_sets,
    random_strategy,
    solve_by_lp,
    value_of,
)


def lay_out(form: SequenceForm, tree: GameTree, strategy: Strategy) -> Any:
    """A strategy by names as each side's slots have it."""
    flat = np.concatenate([strategy[one.player, one.name] for one in tree.sets])
    return tuple(flat[side.tree_slot] for side in form.sides)


@pytest.mark.parametrize("seed", range(3))
def test_exploitability_of_kuhn_is_that_by_all_pure_strategies(seed: int) -> None:
    game, tree = Kuhn(), read_tree(Kuhn())
    form, strategy = SequenceForm(tree), random_strategy(Kuhn(), seed)
    told = form.evaluate(lay_out(form, tree, strategy))
    best = [best_pure_answer(game, player, strategy) for player in (0, 1)]
    assert told["exploitability"] == pytest.approx(sum(best) / 2, abs=1e-12)
    assert told["game_value"] == pytest.approx(value_of(game, strategy), abs=1e-12)
    assert told["exploitability"] > 0.01  # a strategy drawn at random is no equilibrium


def test_of_leduc_the_value_of_a_strategy_is_that_of_all_histories() -> None:
    tree, strategy = read_tree(Leduc()), random_strategy(Leduc(), 4)
    form = SequenceForm(tree)
    told = form.evaluate(lay_out(form, tree, strategy))
    assert told["game_value"] == pytest.approx(value_of(Leduc(), strategy), abs=1e-12)


@pytest.mark.parametrize(("game", "value"), [(Kuhn(), -1 / 18), (Leduc(), -0.085606424078)])
def test_nobody_gains_against_the_equilibrium_of_a_linear_program(game: Any, value: float) -> None:
    """Leduc's value: as published with open_spiel's linear program."""
    pytest.importorskip("scipy")
    tree, (worth, strategy) = read_tree(game), solve_by_lp(game)
    form = SequenceForm(tree)
    told = form.evaluate(lay_out(form, tree, strategy))
    assert worth == pytest.approx(value, abs=1e-8)
    assert told["game_value"] == pytest.approx(value, abs=1e-7)
    assert 0 <= told["exploitability"] + 1e-9 < 1e-7


def test_a_plan_is_the_product_of_what_a_player_did() -> None:
    """Kuhn's first player passes with Q and then calls: the product of two probabilities."""
    tree = read_tree(Kuhn())
    form, strategy = SequenceForm(tree), random_strategy(Kuhn(), 9)
    side = form.sides[0]
    plan = side.realise(lay_out(form, tree, strategy)[0])
    by_name = {one.name: one for one in tree.sets if one.player == 0}
    call = side.sequence[by_name["Q pb"].first + 1]
    wanted = strategy[0, "Q"][0] * strategy[0, "Q pb"][1]
    assert plan[call] == pytest.approx(wanted, abs=1e-15)


def test_what_nobody_can_know_is_no_information_set() -> None:
    for game in (Kuhn(), Leduc()):
        assert {(one.player, one.name): len(one.actions) for one in read_tree(game).sets} == (
            list_sets(game)
        )
