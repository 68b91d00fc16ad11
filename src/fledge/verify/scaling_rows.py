"""Scaling laws beside runs that follow one exactly: the fit gives the law back, and what it says of
a budget is where a search over all sizes ends.
"""

from __future__ import annotations

import numpy as np

from fledge.evaluate.scaling.fitting import fit_law
from fledge.evaluate.scaling.law import NAMES, Law, Points
from fledge.evaluate.scaling.repeats import RepeatedLaw, fit_repeats
from fledge.evaluate.scaling.saturation import Curve, fit_saturation
from fledge.verify.rows import TableRow

# Chinchilla's re-fit (Besiroglu et al. 2024), and two of small models
LAWS = (
    Law(1.82, 482.0, 2085.0, 0.348, 0.366),
    Law(1.0, 40.0, 60.0, 0.35, 0.33),
    Law(0.7, 300.0, 90.0, 0.55, 0.4),
)
BUDGETS = (1e14, 4e14, 1.6e15, 6.4e15)


def make_runs(law: Law) -> Points:
    """Four sizes of each budget; the formula is written out once more."""
    flop = np.repeat(BUDGETS, 4)
    size = np.sqrt(flop / 120) * np.tile([0.3, 0.6, 1.2, 2.4], 4)
    tokens = flop / (6 * size)
    return Points(size, tokens, law.E + law.A / size**law.alpha + law.B / tokens**law.beta)


def fit_row() -> TableRow:
    """Every parameter of every law, relative."""
    error = 0.0
    for law in LAWS:
        fitted = fit_law(make_runs(law), 0.03).law
        error = max(error, *(abs(getattr(fitted, n) / getattr(law, n) - 1) for n in NAMES))
    return TableRow(
        "L12.1", "a scaling law, of runs without luck", "the fit gives the law back", error, 1e-3,
        f"three laws of five parameters, each to {error:.1e}",
    )  # fmt: skip


def budget_row() -> TableRow:
    """The closed form, and the root with serving paid, beside the least of 400,001 sizes."""
    error = 0.0
    for law in LAWS:
        for served in (0.0, 3e9):
            flop = 6.4e15 if not served else 6.4e16
            sizes = np.exp(np.linspace(np.log(1e3), np.log(1e10), 400_001))
            tokens = (flop - 2 * sizes * served) / (6 * sizes)
            sizes, tokens = sizes[tokens > 0], tokens[tokens > 0]
            loss = law.E + law.A / sizes**law.alpha + law.B / tokens**law.beta
            least = float(sizes[loss.argmin()])
            error = max(error, abs(float(law.best_parameters(flop, served)) / least - 1))
    return TableRow(
        "L12.2", "the best size for a budget", "no size has less loss, served tokens paid or not",
        error, 1e-3, f"beside a search over sizes to {error:.1e}",
    )  # fmt: skip


def repeats_row() -> TableRow:
    """R*_D of runs of which the loss is D' = U + U R* (1 − exp(−R / R*)) put into a known law."""
    law, wanted = LAWS[0], 15.0
    epochs = np.tile([2.0, 4.0, 8.0, 20.0, 60.0], 2)
    unique = np.repeat([1e9, 4e9], 5)
    size = np.full(10, 1e7)
    worth = unique * (1 + wanted * (1 - np.exp(-(epochs - 1) / wanted)))
    loss = law.E + law.A / size**law.alpha + law.B / worth**law.beta
    points = Points(size, unique * epochs, loss, unique)
    got: RepeatedLaw = fit_repeats(law, points, np.ones(10))
    error = abs(float(got.data) / wanted - 1)
    return TableRow(
        "L12.3", "repeated tokens, of runs without luck", "the fit gives R*_D back", error, 1e-3,
        f"R*_D = {float(got.data):.4g} of {wanted:g}",
    )  # fmt: skip


def reward_row() -> TableRow:
    true = Curve(0.2, 0.8, 60.0, 1.4)
    compute = np.arange(1.0, 201.0)
    reward = 0.2 + 0.6 / (1 + (60.0 / compute) ** 1.4)
    fitted = fit_saturation(compute, reward).curve
    error = max(abs(getattr(fitted, n) / each - 1) for n, each in vars(true).items())
    return TableRow(
        "L12.4", "reward over compute, of rows without luck", "the fit gives the curve back",
        error, 1e-2, f"start, ceiling, middle and power to {error:.1e}",
    )  # fmt: skip


def scaling_rows() -> list[TableRow]:
    return [fit_row(), budget_row(), repeats_row(), reward_row()]
