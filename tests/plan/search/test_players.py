"""Who plays by looking ahead: wins that are there are taken, losses that can be kept off are."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.plan.search.players import MinimaxPlayer, RandomPlayer, uct_player
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.make import make_game
from tests.plan.search.positions import draw_positions


def after(game: ConnectFour, columns: str) -> np.ndarray:
    position = game.begin(1)
    for column in columns:
        position = game.apply(position, np.array([int(column) - 1]))
    return position


@pytest.mark.parametrize("columns", ["414141", "4343432", "1122"])
def test_a_win_that_is_there_is_taken_and_one_that_threatens_is_kept_off(columns: str) -> None:
    game = ConnectFour()
    position = after(game, columns)
    deep = MinimaxPlayer(game, 4).think(position[0])
    values = deep.action_values
    assert deep.value == np.nanmax(values)
    assert values[deep.action] == deep.value
    thoughts = uct_player(game, 600, seed=1).think(position[0])
    assert values[thoughts.action] == deep.value


def test_minimax_is_the_solver_where_few_squares_are_left() -> None:
    game = ConnectFour()
    solver, player = ConnectFourSolver(game), MinimaxPlayer(game, 1)
    for position in draw_positions(game, 5, 30, seed=1):
        said = [np.nan if v is None else v for v in solver.action_values(position)]
        np.testing.assert_array_equal(player.think(position).action_values, said)


def test_chance_plays_anything_legal() -> None:
    game = make_game("othello")
    positions = draw_positions(game, 30, 9, seed=2)
    player = RandomPlayer(game, seed=3)
    moves = np.stack([player.play(positions) for _ in range(40)])
    legal = game.legal(positions)
    assert legal[np.arange(30), moves].all()
    for i in range(30):  # the least likely of at most 12 moves is missed with chance (11/12)^40
        assert len(set(moves[:, i])) > 1 or legal[i].sum() == 1
