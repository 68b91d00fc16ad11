"""Tree search: the same visits as one plain tree after the other, exact values in the limit, and
nothing that depends on what is searched beside it or was searched before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.plan.search.minimax import solve_game
from fledge.plan.search.models import KnownModel, Rollouts, evenly
from fledge.plan.search.searching import Search, SearchSettings
from fledge.worlds.games.make import make_game
from tests.plan.search.plain_search import Opinions, PlainSearch
from tests.plan.search.positions import draw_positions

RULES = ("puct", "uct", "gumbel")


def search_for(game: Any, evaluator: Any, simulations: int = 60, **settings: Any) -> Search:
    return Search(KnownModel(game, evaluator), SearchSettings(simulations, **settings), seed=7)


@pytest.mark.parametrize("rule", ["puct", "uct"])
@pytest.mark.parametrize("name", ["tictactoe", "connect4:4x4", "dice"])
def test_visits_are_those_of_a_plain_tree(name: str, rule: str) -> None:
    game = make_game(name)
    opinions = Opinions(game)
    positions = draw_positions(game, 5, 3, seed=1)
    search = search_for(game, opinions, simulations=80, rule=rule, exploration=1.3)
    searched = search.run(search.plant(positions))
    plain = PlainSearch(game, opinions, rule, 1.3)
    for i in range(len(positions)):
        root = plain.run(positions[i : i + 1], 80)
        visits = [root.visits.get(a, 0) for a in range(game.actions)]
        assert searched.visits[i].tolist() == visits
        sign = 1 if root.turn == 0 else -1
        for a, n in root.visits.items():
            if n:
                assert searched.q[i, a] == pytest.approx(sign * root.total[a] / n, abs=1e-12)
        assert searched.value[i] == pytest.approx(sign * sum(root.total.values()) / 80, abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("leaves", [1, 4])
def test_a_position_is_answered_alike_whatever_is_searched_beside_it(
    rule: Any, leaves: int
) -> None:
    game = make_game("connect4")
    positions = draw_positions(game, 6, 9, seed=2)
    search = search_for(game, Opinions(game), rule=rule, leaves=leaves, gumbel_scale=0.0)
    together = search.run(search.plant(positions))
    for i in range(len(positions)):
        alone = search.run(search.plant(positions[i : i + 1]))
        np.testing.assert_array_equal(alone.visits[0], together.visits[i])
        np.testing.assert_array_equal(alone.policy[0], together.policy[i])
        assert alone.action[0] == together.action[i]
        assert alone.value[0] == together.value[i]


@pytest.mark.parametrize("rule", ["puct", "uct"])
@pytest.mark.parametrize("name", ["connect4", "othello", "dice"])
def test_a_kept_tree_answers_as_a_new_one(name: str, rule: Any) -> None:
    game = make_game(name)
    search = search_for(game, Opinions(game), rule=rule)
    positions = draw_positions(game, 5, 4, seed=3)
    forest = search.plant(positions)
    for _ in range(3):
        action = search.run(forest).action
        everyone = np.arange(forest.trees)
        forest.move(everyone, action)
        positions = game.apply(positions, action)
        while game.outcomes and (game.turn(positions) == 2).any():
            falls = np.flatnonzero(game.turn(positions) == 2)
            face = game.chance(positions[falls]).argmax(1)
            forest.move(falls, face)
            positions[falls] = game.apply(positions[falls], face)
        goes_on = np.flatnonzero(~game.outcome(positions)[0])
        positions = positions[goes_on]
        search.pack(forest, goes_on)
        np.testing.assert_array_equal(forest.state[forest.root], positions)
        kept = forest.visits[forest.root].sum(1)
        reused, new = search.run(forest), search.run(search.plant(positions))
        np.testing.assert_array_equal(reused.visits, new.visits)
        np.testing.assert_array_equal(reused.q, new.q)
        assert kept.any()  # something was kept at all


def test_a_move_that_was_never_tried_can_be_followed() -> None:
    game = make_game("connect4")
    search = search_for(game, evenly, simulations=3)
    positions = game.begin(2)
    forest = search.plant(positions)
    search.run(forest)
    forest.move(np.arange(2), np.array([6, 0]))  # three visits went to the first three
    search.pack(forest, np.arange(2))
    after = game.apply(positions, np.array([6, 0]))
    np.testing.assert_array_equal(forest.state[forest.root], after)
    np.testing.assert_array_equal(search.run(forest).visits.sum(1), 3)


@pytest.mark.parametrize("name", ["tictactoe", "connect4:4x4"])
@pytest.mark.parametrize("rule", ["puct", "gumbel"])  # UCT tries what is new by its number
def test_a_turned_position_is_answered_with_the_turned_move(name: str, rule: Any) -> None:
    game = make_game(name)
    opinions = Opinions(game, symmetric=True)
    search = search_for(game, opinions, simulations=40, rule=rule, gumbel_scale=0.0)
    positions, tried = draw_positions(game, 6, 3, seed=4), 0
    straight = search.run(search.plant(positions))
    for g in range(1, len(game.moves)):
        turned = search.run(search.plant(game.turn_board(positions, g)))
        for i in range(len(positions)):
            own = Opinions(game, symmetric=True)
            # A position that is its own mirror has moves that are equally good: either will do.
            alike = {own.of_position(game.apply(positions[i : i + 1], np.array([a])))
                     for a in np.flatnonzero(game.legal(positions[i : i + 1])[0])}  # fmt: skip
            if len(alike) < game.legal(positions[i : i + 1]).sum():
                continue
            tried += 1
            expected = straight.visits[i][game.moves[g]]
            np.testing.assert_array_equal(turned.visits[i], expected)
    assert tried > 3


@pytest.mark.parametrize("rule", RULES)
def test_every_move_is_optimal_with_enough_simulations(rule: Any) -> None:
    """Of 150 positions of tic-tac-toe with 3 to 6 squares left, by nobody's opinion."""
    game = make_game("tictactoe")
    solved = solve_game(game)
    positions = np.concatenate([draw_positions(game, 50, moves, seed=5) for moves in (3, 5, 6)])
    search = search_for(game, evenly, simulations=600, rule=rule, gumbel_scale=0.0, value_scale=0.1)
    searched = search.run(search.plant(positions))
    values = solved.action_values(positions)
    chosen = values[np.arange(len(positions)), searched.action]
    np.testing.assert_array_equal(chosen, np.nanmax(values, 1))


def test_values_and_visits_converge_to_the_exact_ones() -> None:
    game = make_game("dice")
    solved = solve_game(game)
    positions = draw_positions(game, 12, 11, seed=6)
    exact = solved.action_values(positions)
    errors, shares = [], []
    for simulations in (50, 300, 2400):
        search = search_for(game, evenly, simulations, rule="uct", exploration=0.7)
        searched = search.run(search.plant(positions))
        errors.append(np.abs(searched.value - np.nanmax(exact, 1)).mean())
        clear = np.abs(exact[:, 0] - exact[:, 1]) > 0.05
        best = np.nanargmax(exact[clear], 1)
        shares.append(searched.policy[clear][np.arange(clear.sum()), best].mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.85


def test_chance_is_visited_by_its_shares() -> None:
    game = make_game("dice")
    search = search_for(game, evenly, simulations=500)
    positions = game.apply(game.begin(1), np.array([1]))  # the die falls at the root
    forest = search.plant(positions)
    search.run(forest)
    share = forest.visits[forest.root[0], :4]
    assert np.abs(share - 500 * game.chance(positions)[0]).max() <= 3


@pytest.mark.parametrize("leaves", [2, 8])
def test_virtual_loss_leaves_nothing_behind(leaves: int) -> None:
    game = make_game("connect4")
    asked: list[int] = []

    def count(positions: Any, legal: Any) -> Any:
        asked.append(len(positions))
        return evenly(positions, legal)

    search = search_for(game, count, simulations=101, leaves=leaves)
    forest = search.plant(game.begin(3))
    searched = search.run(forest)
    np.testing.assert_array_equal(searched.visits.sum(1), 101)
    assert not forest.flying.any()
    assert not forest.waiting.any()
    assert max(asked) > 3 * leaves / 2  # several leaves of each tree in one call
    assert len(asked) <= 2 + 101 // leaves
    inner = forest.child >= 0
    below = forest.visits[np.maximum(forest.child, 0)].sum(-1)
    grown = inner & ~forest.ended[np.maximum(forest.child, 0)]
    # Each visit but those that ended in the node itself went on below it: the first one, and, with
    # several on their way, those that met it while it waited.
    over = (forest.visits - below)[grown]
    assert (over >= 1).all()
    assert (over <= leaves).all()


def test_noise_at_the_root_is_a_share_of_the_prior_and_follows_the_seed() -> None:
    game = make_game("connect4")
    runs = []
    for seed in (1, 1, 2):
        search = Search(KnownModel(game, evenly), SearchSettings(30, noise=0.25), seed)
        forest = search.plant(game.begin(2))
        search.prepare(forest)
        prior = search.root_prior
        np.testing.assert_allclose(prior.sum(1), 1)
        assert (prior >= 0.75 / 7 - 1e-12).all()
        assert prior.std() > 0
        np.testing.assert_array_equal(forest.prior[forest.root], np.full((2, 7), 1 / 7))
        runs.append(prior)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_random_numbers_of_a_search_are_its_state() -> None:
    game = make_game("connect4")
    made = []
    for _ in range(2):
        rollouts = Rollouts(game, 2, seed=3)
        search = Search(KnownModel(game, rollouts), SearchSettings(20, noise=0.5), seed=4)
        made.append((rollouts, search))
    (rollouts, search), (other_rollouts, other) = made
    search.run(search.plant(game.begin(3)))
    other.load_state_dict(search.state_dict())
    other_rollouts.load_state_dict(rollouts.state_dict())
    one, two = (each.run(each.plant(game.begin(3))) for each in (search, other))
    np.testing.assert_array_equal(one.visits, two.visits)


def test_rollouts_are_worth_what_random_play_is_worth() -> None:
    """By enumeration of random play; 4,000 games, six standard errors at most (error 1 of 10⁸)."""
    game = make_game("tictactoe")
    positions = draw_positions(game, 4, 5, seed=8)

    def mean(position: Any) -> float:
        over, value = game.outcome(position)
        if over[0]:
            return float(value[0])
        moves = np.flatnonzero(game.legal(position)[0])
        return float(np.mean([mean(game.apply(position, np.array([a]))) for a in moves]))

    _, worth = Rollouts(game, 4000, seed=1)(positions, game.legal(positions))
    sign = np.where(game.turn(positions) == 0, 1, -1)
    exact = np.array([mean(positions[i : i + 1]) for i in range(4)])
    assert np.abs(worth - sign * exact).max() < 6 / 4000**0.5


def test_what_cannot_be_searched_is_told_in_one_sentence() -> None:
    game = make_game("tictactoe")
    position = game.begin(1)
    for action in (0, 3, 1, 4, 2):
        position = game.apply(position, np.array([action]))
    with pytest.raises(UserError, match="a search was asked for at the end of a game"):
        search_for(game, evenly).plant(position)
    with pytest.raises(UserError, match="simulations=0, leaves=1: give 1 or more"):
        search_for(game, evenly, simulations=0)


def test_a_gumbel_search_is_worth_what_its_policy_gets() -> None:
    """Σ π′ q, and for what was never tried v_mix (Danihelka et al. 2022, eq. 33), written out."""
    game = make_game("connect4")
    positions = draw_positions(game, 6, 7, seed=8)
    search = search_for(game, Opinions(game), simulations=9, rule="gumbel", considered=3)
    searched = search.run(search.plant(positions))
    legal = game.legal(positions)
    prior, own = Opinions(game)(positions, legal)
    for i in range(len(positions)):
        n, q = searched.visits[i], searched.q[i]
        tried = [a for a in range(7) if n[a] > 0]
        assert len(tried) == 3
        share = sum(prior[i, a] for a in tried)
        mean = sum(prior[i, a] * q[a] for a in tried) / share
        mixed = (own[i] + n.sum() * mean) / (1 + n.sum())
        expected = sum(searched.policy[i, a] * (q[a] if n[a] else mixed) for a in range(7))
        assert searched.value[i] == pytest.approx(expected, abs=1e-9)
        assert searched.value[i] != pytest.approx((n * q).sum() / n.sum(), abs=1e-3)
