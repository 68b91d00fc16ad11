"""Minimax, alpha–beta and the solver, held to recursion over plain rules, to each other and to what
is known of small boards.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.plan.search.alpha_beta import AlphaBeta
from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.plan.search.minimax import solve_game
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.dice_race import FACES, FIELDS, DiceRace
from fledge.worlds.games.make import make_game
from tests.plan.search.positions import draw_positions
from tests.worlds.games.plain_rules import PlainRules

PLAIN: dict[str, int] = {}


def value_by_recursion(rules: PlainRules) -> int:
    """For x, by the plain rules alone."""
    key = repr((rules.board, rules.turn))
    if key not in PLAIN:
        result = rules.result()
        if result is None:
            each = []
            for move in rules.moves():
                after = PlainRules("tictactoe")
                after.board, after.turn = [list(row) for row in rules.board], rules.turn
                after.play(move)
                each.append(value_by_recursion(after))
            result = max(each) if rules.turn == "x" else min(each)
        PLAIN[key] = result
    return PLAIN[key]


def as_plain(cells: list[str], turn: int) -> PlainRules:
    rules = PlainRules("tictactoe")
    rules.board = [cells[0:3], cells[3:6], cells[6:9]]
    rules.turn = "xo"[turn]
    return rules


def test_minimax_of_all_positions_of_tic_tac_toe_is_that_of_plain_recursion() -> None:
    game = make_game("tictactoe")
    solved = solve_game(game)
    assert len(solved.value) == 5478
    turns = game.turn(solved.positions)
    for position, value, turn in zip(solved.positions, solved.value, turns, strict=True):
        plain = as_plain(game.list_cells(position), int(turn))
        assert value == value_by_recursion(plain)
    assert solved.value_of(game.begin(1)) == 0  # a draw


@cache
def dice_value(here: int, other: int, zeros: int, other_zeros: int) -> float:
    """What the one who moves gets, by the rules as they are told."""
    if other == FIELDS:
        return -1.0
    walk = -dice_value(other, min(here + 2, FIELDS), other_zeros, 0)
    chances = (0.3, 0.2, 0.2, 0.3) if zeros < 2 else (0.0, 0.3, 0.3, 0.4)
    throw = 0.0
    for face, chance in zip(FACES.tolist(), chances, strict=True):
        if chance:
            now = zeros + 1 if face == 0 else 0
            throw -= chance * dice_value(other, min(here + face, FIELDS), other_zeros, now)
    return max(walk, throw)


def test_expectation_at_chance_nodes_is_that_of_plain_recursion() -> None:
    game = DiceRace()
    solved = solve_game(game)
    assert solved.value_of(game.begin(1))[0] == pytest.approx(dice_value(0, 0, 0, 0), abs=1e-12)
    for number, position in enumerate(draw_positions(game, 30, 14, seed=1)):
        turn = int(position[2])
        own, other = int(position[turn]), int(position[1 - turn])
        zeros, theirs = int(position[4 + turn]), int(position[5 - turn])
        sign = 1 if turn == 0 else -1
        expected = sign * dice_value(own, other, zeros, theirs)
        assert solved.value_of(position[None])[0] == pytest.approx(expected, abs=1e-12)
        if number < 3:
            by_depth = AlphaBeta(game).value(position[None], game.longest)
            assert by_depth == pytest.approx(expected, abs=1e-12)


def test_alpha_beta_to_the_end_is_minimax() -> None:
    game = make_game("tictactoe")
    solved = solve_game(game)
    for moves in (2, 4, 5):
        positions = draw_positions(game, 15, moves, seed=moves)
        exact = solved.action_values(positions)
        for position, values in zip(positions, exact, strict=True):
            np.testing.assert_array_equal(AlphaBeta(game).action_values(position), values)


def test_the_solver_is_minimax_on_a_small_board() -> None:
    game = ConnectFour(4, 4)
    roots = draw_positions(game, 40, 5, seed=2)
    solved, solver = solve_game(game, roots), ConnectFourSolver(game)
    exact = solved.action_values(roots)
    for position, values in zip(roots, exact, strict=True):
        said = [np.nan if value is None else value for value in solver.action_values(position)]
        np.testing.assert_array_equal(said, values)
        assert solver.value(position) == np.nanmax(values)


def test_the_solver_is_alpha_beta_where_few_squares_are_left() -> None:
    game = ConnectFour()
    solver = ConnectFourSolver(game)
    seen = set()
    for position in draw_positions(game, 25, 33, seed=3):
        said = [np.nan if value is None else value for value in solver.action_values(position)]
        np.testing.assert_array_equal(said, AlphaBeta(game).action_values(position))
        seen |= set(np.array(said)[~np.isnan(said)].tolist())
    assert seen == {-1, 0, 1}  # the positions have everything in them


def test_small_boards_are_drawn_as_is_known() -> None:
    # Tromp: https://tromp.github.io/c4/c4.html (table of board sizes)
    for size in ((4, 4), (4, 5)):
        game = ConnectFour(*size)
        assert ConnectFourSolver(game).value(game.begin(1)[0]) == 0


def test_a_game_too_large_for_minimax_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="connect4 has more than 2,000 positions"):
        solve_game(make_game("connect4"), most=2000)
