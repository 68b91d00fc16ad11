"""What a game with hidden information is worth, by ways that share nothing with the package:
history by history out of the game's own rules, over all pure strategies, and by linear programming.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Strategy = dict[tuple[int, str], list[float]]  # (player, what it knows) -> a probability an action


def list_sets(game: Any) -> dict[tuple[int, str], int]:
    """How many actions there are, of all that a player can know."""
    sets: dict[tuple[int, str], int] = {}

    def visit(state: Any) -> None:
        turn = game.turn(state)
        if turn >= 0:
            sets[turn, game.information(state)] = len(game.actions(state))
        count = 0 if turn == -2 else len(game.chances(state) if turn < 0 else game.actions(state))
        for move in range(count):
            visit(game.after(state, move))

    visit(game.begin())
    return sets


def value_of(game: Any, strategy: Strategy) -> float:
    """What player 0 wins where both follow the strategy."""

    def visit(state: Any) -> float:
        turn = game.turn(state)
        if turn == -2:
            return game.payoff(state)
        share = game.chances(state) if turn < 0 else strategy[turn, game.information(state)]
        return sum(p * visit(game.after(state, a)) for a, p in enumerate(share) if p)

    return visit(game.begin())


def random_strategy(game: Any, seed: int) -> Strategy:
    draw = np.random.default_rng(seed)
    return {key: list(draw.dirichlet(np.ones(n))) for key, n in list_sets(game).items()}


def best_pure_answer(game: Any, player: int, strategy: Strategy) -> float:
    """The most that a player wins by any of its pure strategies, each played out."""
    own = [(key, n) for key, n in list_sets(game).items() if key[0] == player]
    sign = 1 if player == 0 else -1
    best = -np.inf
    for choice in itertools.product(*(range(n) for _, n in own)):
        pure = {
            key: [float(a == move) for a in range(n)]
            for (key, n), move in zip(own, choice, strict=True)
        }
        best = max(best, sign * value_of(game, strategy | pure))
    return best


def solve_by_lp(game: Any) -> tuple[float, Strategy]:
    """The value to player 0 and an equilibrium, by the sequence form's linear programs of both
    players (Koller, Megiddo & von Stengel 1996) and an outside solver.
    """
    from scipy.optimize import linprog
    from scipy.sparse import lil_matrix

    sequences: list[dict[Any, int]] = [{(): 0}, {(): 0}]
    parents: list[dict[str, int]] = [{}, {}]  # of what a player knows: the sequence before
    sizes: list[dict[str, int]] = [{}, {}]
    ends: dict[tuple[int, int], float] = {}

    def visit(state: Any, last: tuple[int, int], chance: float) -> None:
        turn = game.turn(state)
        if turn == -2:
            ends[last] = ends.get(last, 0.0) + chance * game.payoff(state)
        elif turn == -1:
            for move, p in enumerate(game.chances(state)):
                visit(game.after(state, move), last, chance * p)
        else:
            known = game.information(state)
            parents[turn][known], sizes[turn][known] = last[turn], len(game.actions(state))
            for move in range(sizes[turn][known]):
                at = sequences[turn].setdefault((known, move), len(sequences[turn]))
                own = (at, last[1]) if turn == 0 else (last[0], at)
                visit(game.after(state, move), own, chance)

    visit(game.begin(), (0, 0), 1.0)
    payoff = lil_matrix((len(sequences[0]), len(sequences[1])))
    for (i, j), worth in ends.items():
        payoff[i, j] = worth
    flows = []
    for player in (0, 1):
        flow = lil_matrix((1 + len(parents[player]), len(sequences[player])))
        flow[0, 0] = 1
        for row, (known, before) in enumerate(parents[player].items(), 1):
            flow[row, before] = -1
            for move in range(sizes[player][known]):
                flow[row, sequences[player][known, move]] = 1
        flows.append(flow)
    strategy: Strategy = {}
    values = []
    for player, matrix in ((0, payoff.tocsr()), (1, -payoff.tocsr().T)):
        own, other = flows[player].tocsr(), flows[1 - player].tocsr()
        x, q = own.shape[1], other.shape[0]
        # maximise q_0 where Fᵀq ≤ Aᵀx, Ex = e, x ≥ 0
        from scipy.sparse import csr_matrix, hstack

        cost = np.zeros(x + q)
        cost[x] = -1
        solved = linprog(
            cost,
            A_ub=hstack([-matrix.T, other.T]).tocsr(),
            b_ub=np.zeros(other.shape[1]),
            A_eq=hstack([own, csr_matrix((own.shape[0], q))]).tocsr(),
            b_eq=np.eye(1, own.shape[0])[0],
            bounds=[(0, None)] * x + [(None, None)] * q,
            method="highs",
        )
        assert solved.status == 0, solved.message
        values.append(-solved.fun)
        plan = solved.x[:x]
        for known, n in sizes[player].items():
            share = np.array([plan[sequences[player][known, a]] for a in range(n)]).clip(0)
            strategy[player, known] = list(
                share / share.sum() if share.sum() > 1e-12 else np.ones(n) / n
            )
    assert abs(values[0] + values[1]) < 1e-8
    return values[0], strategy
