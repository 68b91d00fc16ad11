"""Search in games beside plain recursion: rows R14 of `fledge verify`."""

from __future__ import annotations

import numpy as np

from fledge.exact.small_games import dice_value, list_tic_tac_toe, tic_tac_toe_value
from fledge.plan.search.alpha_beta import AlphaBeta
from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.plan.search.minimax import Solved, solve_game
from fledge.plan.search.models import KnownModel, evenly
from fledge.plan.search.searching import Search, SearchSettings
from fledge.plan.search.selecting import improved_logits, softmax
from fledge.verify.rows import TableRow
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.dice_race import DiceRace
from fledge.worlds.games.game import Numbers
from fledge.worlds.games.tic_tac_toe import TicTacToe

STRIDE = 23  # every so many-th position of tic-tac-toe is searched
EMPTY = 6  # squares at most that are left in those: before, more simulations are needed
SIMULATIONS = 600
VALUE_BOUND = 0.1  # of a search with 2,000 simulations from the exact value of the race by dice


def write_board(game: TicTacToe, position: Numbers) -> str:
    return "".join(cell or "." for cell in game.list_cells(position))


def minimax_row(game: TicTacToe, solved: Solved) -> TableRow:
    boards = list_tic_tac_toe()
    said = {
        write_board(game, position): value
        for position, value in zip(solved.positions, solved.value, strict=True)
    }
    wrong = sum(said.get(board) != tic_tac_toe_value(board) for board in boards)
    wrong += len(said.keys() - set(boards))
    return TableRow(
        "R14.1", "minimax, all of tic-tac-toe", "the value of each of 5,478 positions",
        float(wrong), 0.0, f"{wrong} of {len(boards):,} differ from plain recursion",
    )  # fmt: skip


def chance_row() -> TableRow:
    game = DiceRace()
    solved, error = solve_game(game), 0.0
    for position, value in zip(solved.positions, solved.value, strict=True):
        if position[3] == 0 and not game.outcome(position[None])[0][0]:
            turn = int(position[2])
            exact = dice_value(
                int(position[turn]), int(position[1 - turn]),
                int(position[4 + turn]), int(position[5 - turn]),
            )  # fmt: skip
            error = max(error, abs(value - (exact if turn == 0 else -exact)))
    return TableRow(
        "R14.2", "minimax with chance nodes, the race by dice",
        "the expectation of each position", error, 1e-12,
        f"at most {error:.1e} from plain recursion, of {len(solved.value):,} positions",
    )  # fmt: skip


def cutting_row(game: TicTacToe, solved: Solved, positions: Numbers) -> TableRow:
    """Alpha–beta, and the solver of connect four on a board that minimax can hold."""
    some = positions[::4]
    exact = solved.action_values(some)
    wrong = sum(
        not np.array_equal(AlphaBeta(game).action_values(position), values, equal_nan=True)
        for position, values in zip(some, exact, strict=True)
    )
    small = ConnectFour(4, 4)
    roots = small.begin(1)
    for action in (1, 1, 2, 0, 2):
        roots = small.apply(roots, np.array([action]))
    below, solver = solve_game(small, roots), ConnectFourSolver(small)
    open_now = below.positions[~small.outcome(below.positions)[0]][::40]
    for position, values in zip(open_now, below.action_values(open_now), strict=True):
        said = [np.nan if value is None else value for value in solver.action_values(position)]
        wrong += not np.array_equal(said, values, equal_nan=True)
    return TableRow(
        "R14.3", "alpha–beta, and the solver of connect four", "the value of each move by minimax",
        float(wrong), 0.0, f"{wrong} of {len(some) + len(open_now)} positions differ",
    )  # fmt: skip


def visits_row(game: TicTacToe, solved: Solved, positions: Numbers) -> TableRow:
    values = solved.action_values(positions)
    wrong = 0
    for rule in ("uct", "puct", "gumbel"):
        settings = SearchSettings(SIMULATIONS, rule=rule, gumbel_scale=0.0, value_scale=0.1)
        search = Search(KnownModel(game, evenly), settings)
        action = search.run(search.plant(positions)).action
        chosen = values[np.arange(len(positions)), action]
        wrong += int((chosen < np.nanmax(values, 1)).sum())
    return TableRow(
        "R14.4", "tree search (uct, puct, gumbel), tic-tac-toe", "plays a move of minimax",
        float(wrong), 0.0,
        f"{wrong} of 3 × {len(positions)} are worse, at {SIMULATIONS} simulations",
    )  # fmt: skip


def value_row() -> TableRow:
    game = DiceRace()
    solved = solve_game(game)
    near = (solved.positions[:, :2].min(1) >= 4) & (solved.positions[:, 3] == 0)
    positions = solved.positions[near & ~game.outcome(solved.positions)[0]][::40]
    search = Search(KnownModel(game, evenly), SearchSettings(2000, rule="uct", exploration=0.7))
    searched = search.run(search.plant(positions))
    sign = np.where(game.turn(positions) == 0, 1, -1)
    error = float(np.abs(sign * searched.value - solved.value_of(positions)).mean())
    return TableRow(
        "R14.5", "tree search with chance nodes, the race by dice", "the exact value, in the limit",
        error, VALUE_BOUND, f"{error:.3f} from it on average at 2,000 simulations",
    )  # fmt: skip


def improvement_row() -> TableRow:
    draw = np.random.default_rng(14)
    prior, q = draw.dirichlet(np.ones(7), size=500), draw.uniform(-1, 1, size=(500, 7))
    n, allowed = np.ones(q.shape), np.ones(q.shape, bool)
    policy = softmax(improved_logits(q, n, prior, np.zeros(500), allowed, 50.0, 1.0))
    worse = float(((prior - policy) * q).sum(1).max())
    return TableRow(
        "R14.6", "Gumbel's improved policy", "is worth no less than the prior", worse, 1e-12,
        f"Σ (π − π′) q is at most {worse:.2g}, of 500 nodes whose values are known",
    )  # fmt: skip


def search_rows() -> list[TableRow]:
    """The rows for R14."""
    game = TicTacToe()
    solved = solve_game(game)
    late = game.legal(solved.positions).sum(1) <= EMPTY
    positions = solved.positions[late & ~game.outcome(solved.positions)[0]][::STRIDE]
    return [
        minimax_row(game, solved), chance_row(), cutting_row(game, solved, positions),
        visits_row(game, solved, positions), value_row(), improvement_row(),
    ]  # fmt: skip
