"""A law that is known, and runs that follow it with luck of their own."""

from __future__ import annotations

import numpy as np

from fledge.evaluate.scaling.law import Law, Points

TRUE = Law(1.0, 40.0, 60.0, 0.35, 0.33)
NOISE = 0.01  # of log loss
ASKED = (2.4e5, 7.0e6)  # parameters and tokens: twice the budget of the largest run


def make_runs(seed: int, noise: float = NOISE) -> Points:
    """Four budgets, of each four sizes, as a sweep has them."""
    sizes, tokens = [], []
    for budget in (6.25e11, 1.25e12, 2.5e12, 5e12):
        for part in (0.4, 0.75, 1.4, 2.6):
            sizes.append(part * (budget / 180) ** 0.5)
            tokens.append(budget / 6 / sizes[-1])
    n, d = np.array(sizes), np.array(tokens)
    luck = np.random.default_rng(seed).normal(size=len(n))
    return Points(n, d, loss_of(n, d) * np.exp(noise * luck))


def loss_of(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The formula, written once more."""
    return 1.0 + 40.0 / n**0.35 + 60.0 / d**0.33
