"""What is won by one move is won by the rules, and only other positions are asked about."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.plan.search.wins_at_once import WinsFirst
from fledge.worlds.games.game import SeesWins
from fledge.worlds.games.make import make_game
from tests.plan.search.counting import Counting
from tests.plan.search.plain_search import Opinions
from tests.plan.search.positions import draw_positions


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "connect4:5x4"])
def test_a_win_at_once_needs_no_opinion_and_other_positions_keep_theirs(name: str) -> None:
    game = make_game(name)
    assert isinstance(game, SeesWins)
    positions = draw_positions(game, 60, 5 if name == "tictactoe" else 13, seed=3)
    legal = game.legal(positions)
    counting = Counting(game)
    chance, value = WinsFirst(game, counting)(positions, legal)
    plain_chance, plain_value = Opinions(game)(positions, legal)
    wins = np.zeros(legal.shape, dtype=bool)  # by making every move
    for row, action in zip(*legal.nonzero(), strict=True):
        over, got = game.outcome(game.apply(positions[row : row + 1], np.array([action])))
        sign = 1 if game.turn(positions[row : row + 1])[0] == 0 else -1
        wins[row, action] = over[0] and got[0] == sign
    won = wins.any(1)
    assert 5 < won.sum() < 55
    assert counting.asked == [row.tobytes() for row in positions[~won]]
    np.testing.assert_array_equal(chance[~won], plain_chance[~won])
    np.testing.assert_array_equal(value[~won], plain_value[~won])
    assert (value[won] == 1).all()
    np.testing.assert_array_equal(chance[won] > 0, wins[won])
    np.testing.assert_allclose(chance[won].sum(1), 1)


def test_all_that_is_asked_wins_at_once() -> None:
    game = make_game("tictactoe")
    assert isinstance(game, SeesWins)
    position = np.array([[0b000000011, 0b000011000, 0]])
    counting = Counting(game)
    chance, value = WinsFirst(game, counting)(position, game.legal(position))
    assert (chance[0].tolist(), value.tolist()) == ([0, 0, 1, 0, 0, 0, 0, 0, 0], [1])
    assert counting.asked == []
