"""The rules of each game, held to the same rules written the slow way, to known counts of
positions, and to their own symmetries.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.worlds.games.plain_rules import PlainRules

from fledge.errors import UserError
from fledge.worlds.games.dice_race import FIELDS, DiceRace
from fledge.worlds.games.game import CHANCE, Game, SeesWins, check_moves, read_move
from fledge.worlds.games.make import GAMES, make_game

NAMES = [*GAMES, "connect4:5x4", "connect4:4x7"]


def one(game: Game) -> np.ndarray:
    return game.begin(1)


def step(game: Game, position: np.ndarray, action: int) -> np.ndarray:
    return game.apply(position, np.array([action]))


def play_randomly(game: Game, games: int, seed: int) -> list[np.ndarray]:
    """Every position of some games.  -> rows [1, W]"""
    draw, seen = random.Random(seed), []
    for _ in range(games):
        position = one(game)
        seen.append(position)
        while not game.outcome(position)[0][0]:
            thrown = game.turn(position)[0] == CHANCE
            open_now = game.chance(position)[0] > 0 if thrown else game.legal(position)[0]
            position = step(game, position, draw.choice(np.flatnonzero(open_now).tolist()))
            seen.append(position)
    return seen


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "connect4:5x4", "othello"])
def test_whole_games_go_as_by_the_plain_rules(name: str) -> None:
    game, draw = make_game(name), random.Random(1)
    rows, columns = game.board
    for _ in range(25):
        plain = PlainRules(name.partition(":")[0], columns, rows)
        position = one(game)
        while True:
            over, value = game.outcome(position)
            assert [c for row in plain.board for c in row] == game.list_cells(position[0])
            assert (float(value[0]) if over[0] else None) == plain.result()
            if over[0]:
                break
            assert "xo"[game.turn(position)[0]] == plain.turn
            assert np.flatnonzero(game.legal(position)[0]).tolist() == plain.moves()
            move = draw.choice(plain.moves())
            plain.play(move)
            position = step(game, position, move)


def count_positions(game: Game, plies: int) -> list[int]:
    """Different positions after each number of moves; ended ones have no more."""
    counts, layer = [1], one(game)
    for _ in range(plies):
        layer = layer[~game.outcome(layer)[0]]
        legal = game.legal(layer)
        row, move = legal.nonzero()
        layer = np.unique(game.apply(layer[row], move), axis=0)
        counts.append(len(layer))
    return counts


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "connect4:5x4", "connect4:6x9"])
def test_moves_that_win_at_once_are_those_after_which_the_mover_has_won(name: str) -> None:
    game = make_game(name)
    assert isinstance(game, SeesWins)
    together = np.concatenate(play_randomly(game, 40, seed=5))
    together = together[~game.outcome(together)[0]]
    winning = game.winning(together)
    legal, won = game.legal(together), np.zeros_like(winning)
    for action in range(game.actions):
        here = legal[:, action]
        after = game.apply(together[here], np.full(here.sum(), action))
        sign = 1 - 2 * game.turn(together[here]).astype(float)
        won[here, action] = game.outcome(after)[1] == sign
    np.testing.assert_array_equal(winning, won)
    assert won.sum() > 20


def test_there_are_5478_positions_of_tic_tac_toe() -> None:
    assert sum(count_positions(make_game("tictactoe"), 9)) == 5478


def test_connect_four_has_as_many_positions_as_are_known() -> None:
    # Edelkamp & Kissmann 2008; https://oeis.org/A212693
    assert count_positions(make_game("connect4"), 7) == [1, 7, 49, 238, 1120, 4263, 16422, 54859]


@pytest.mark.parametrize("name", NAMES)
def test_many_positions_at_once_are_what_each_is_alone(name: str) -> None:
    game = make_game(name)
    each = [p for p in play_randomly(game, 5, seed=2) if not game.outcome(p)[0][0]]
    together = np.concatenate(each)
    first = [
        int(np.flatnonzero(game.chance(p)[0] if game.turn(p)[0] == CHANCE else game.legal(p)[0])[0])
        for p in each
    ]
    before = together.copy()
    after = game.apply(together, np.array(first))
    np.testing.assert_array_equal(together, before)  # nothing was changed in place
    for i, position in enumerate(each):
        np.testing.assert_array_equal(after[i : i + 1], step(game, position, first[i]))
        np.testing.assert_array_equal(game.observe(together)[i], game.observe(position)[0])
        np.testing.assert_array_equal(game.legal(together)[i], game.legal(position)[0])


@pytest.mark.parametrize("name", NAMES)
def test_symmetries_commute_with_moves_and_with_what_is_seen(name: str) -> None:
    game = make_game(name)
    together = np.concatenate(play_randomly(game, 8, seed=3))
    together = together[~game.outcome(together)[0]]
    draw = np.random.default_rng(4)
    for g in range(len(game.moves)):
        turned = game.turn_board(together, g)
        np.testing.assert_array_equal(game.outcome(turned)[1], game.outcome(together)[1])
        np.testing.assert_array_equal(game.turn(turned), game.turn(together))
        np.testing.assert_array_equal(game.legal(turned), game.legal(together)[:, game.moves[g]])
        seen = game.observe(together).reshape(len(together), game.planes, -1)[..., game.cells[g]]
        np.testing.assert_array_equal(game.observe(turned).reshape(seen.shape), seen)
        players = game.turn(together) != CHANCE
        chance = draw.random((len(together), game.actions)) * game.legal(turned)
        move = chance.argmax(1)[players]
        after = game.apply(turned[players], move)
        same = game.turn_board(game.apply(together[players], game.moves[g][move]), g)
        np.testing.assert_array_equal(after, same)


def test_a_board_has_all_of_its_symmetries() -> None:
    for name, number in {"tictactoe": 8, "othello": 8, "connect4": 2, "dice": 1}.items():
        game = make_game(name)
        assert len({tuple(cells) for cells in game.cells}) == len(game.moves) == number
        assert game.cells[0].tolist() == list(range(game.cells.shape[1]))


def test_games_are_no_longer_than_said_and_observed_from_both_sides() -> None:
    for name in NAMES:
        game = make_game(name)
        for _ in range(3):
            assert len(play_randomly(game, 1, seed=5)) <= game.longest + 1
        position = one(game)
        seen = game.observe(position)
        assert seen.shape == (1, game.planes, *game.board)
        assert seen.dtype == np.float32


def test_dice_fall_as_they_are_said_to_and_no_game_goes_on_for_ever() -> None:
    game = DiceRace()
    position = step(game, one(game), 1)
    assert game.turn(position)[0] == CHANCE
    assert not game.legal(position).any()
    np.testing.assert_allclose(game.chance(position).sum(1), 1)
    again = step(game, position, 0)  # a zero
    assert game.turn(again)[0] == 1
    assert again[0, :2].tolist() == [0, 0]
    far = step(game, position, 3)
    assert far[0, :2].tolist() == [6, 0]
    for zeros in range(2):
        assert game.chance(position)[0, 0] > 0, zeros
        position = step(game, position, 0)
        position = step(game, step(game, position, 0), 1)  # the other walks
    assert game.chance(position)[0, 0] == 0
    assert FIELDS == 12


def test_what_is_no_move_is_told_in_one_sentence() -> None:
    game = make_game("connect4")
    position = one(game)
    for _ in range(6):
        position = step(game, position, 2)
    assert read_move(game, position[0], " 4 ") == 3
    with pytest.raises(UserError, match=r"3 is not legal here: give one of 1, 2, 4, 5, 6, 7\."):
        read_move(game, position[0], "3")
    with pytest.raises(UserError, match="'e5' is no move of connect4"):
        read_move(game, position[0], "e5")
    for wrong in (2, 7, -1):
        with pytest.raises(UserError, match=f"move {wrong} is not legal in a position of connect4"):
            check_moves(game, position, np.array([wrong]))
    with pytest.raises(UserError, match="float64 \\(1,\\) were given for 1 positions"):
        check_moves(game, position, np.array([0.5]))
    with pytest.raises(UserError, match="positions can be copied"):
        make_game("CartPole-v1")
    with pytest.raises(UserError, match="perhaps you meant othello"):
        make_game("otello")
    with pytest.raises(UserError, match="columns or rows must be 4 or more"):
        make_game("connect4:3x3")
    check_moves(game, position, np.array([3]))
