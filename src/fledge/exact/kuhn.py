"""Kuhn's poker in closed form: payoffs of all pairs of pure strategies out of its rules, written
down deal by deal.

A strategy is a probability of betting (or calling) for each of six places, [6] a player: the first
player's own card J, Q, K, then the same cards after pass and bet; the second player's J, Q, K after
a pass, then after a bet.
"""

from __future__ import annotations

from itertools import permutations, product

import torch
from torch import Tensor

VALUE = -1 / 18  # to the first player (Kuhn 1950)


def value(first: Tensor, second: Tensor) -> Tensor:
    """What the first player wins on average, in antes.  [6], [6] -> []"""
    total = torch.zeros((), dtype=torch.float64)
    for mine, other in permutations(range(3), 2):
        wins = 1.0 if mine > other else -1.0
        bets, calls = first[mine], first[3 + mine]
        raises, follows = second[other], second[3 + other]
        after_bet = follows * 2 * wins + (1 - follows) * 1.0
        after_raise = calls * 2 * wins - (1 - calls) * 1.0
        after_pass = raises * after_raise + (1 - raises) * wins
        total = total + (bets * after_bet + (1 - bets) * after_pass) / 6
    return total


def pure_strategies() -> Tensor:
    """[64, 6]"""
    return torch.tensor(list(product((0.0, 1.0), repeat=6)), dtype=torch.float64)


def best_answers(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The most that either player wins by a pure strategy against the other's.  [6], [6]"""
    pure = pure_strategies()
    return (
        max(float(value(one, second)) for one in pure),
        max(-float(value(first, one)) for one in pure),
    )


def equilibrium(alpha: float) -> tuple[Tensor, Tensor]:
    """One of the family, 0 ≤ α ≤ 1/3 (Kuhn 1950): J is bet with α, K with 3α; Q calls with α + 1/3.
    The second player's is the only one.
    """
    third = 1 / 3
    first = [alpha, 0.0, 3 * alpha, 0.0, alpha + third, 1.0]
    second = [third, 0.0, 1.0, 0.0, third, 1.0]
    return torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
