"""The fitter finds the law it is given, no other optimiser finds a lower loss, and what cannot tell
a law is said.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fledge.errors import UserError
from fledge.evaluate.scaling.fitting import fit_law
from fledge.evaluate.scaling.law import NAMES, Points
from tests.evaluate.scaling.laws import TRUE, loss_of, make_runs


def test_without_noise_the_law_comes_back() -> None:
    law = fit_law(make_runs(0, noise=0.0)).law
    for name in NAMES:
        assert getattr(law, name) == pytest.approx(getattr(TRUE, name), rel=0.02), name


@pytest.mark.parametrize("huber", [1e-3, 0.03])
def test_no_other_optimiser_finds_a_lower_loss(huber: float) -> None:
    points = make_runs(3)

    def measure(theta: np.ndarray) -> float:
        e, a, b, alpha, beta = theta
        with np.errstate(over="ignore"):
            said = np.exp(e) + np.exp(a) * points.parameters**-alpha
            said = said + np.exp(b) * points.tokens**-beta
            error = np.abs(np.log(said / points.loss))
        small = error <= huber
        return float(np.where(small, error**2 / 2, huber * (error - huber / 2)).sum() / huber)

    law = fit_law(points, huber).law
    ours = np.array([np.log(law.E), np.log(law.A), np.log(law.B), law.alpha, law.beta])
    random = np.random.default_rng(0)
    others = [
        minimize(measure, ours + random.normal(size=5) * 0.3, method="Nelder-Mead",
                 options={"maxiter": 4000, "xatol": 1e-10, "fatol": 1e-13, "adaptive": True}).fun
        for _ in range(4)
    ]  # fmt: skip
    assert measure(ours) <= min(others) * 1.002


def test_one_wild_run_moves_little() -> None:
    points = make_runs(0, noise=0.002)
    points.loss[5] *= 1.5
    sizes, tokens = np.array([2e5]), np.array([5e6])
    said = fit_law(points).law.foretell(sizes, tokens)
    assert float(said[0]) == pytest.approx(float(loss_of(sizes, tokens)[0]), rel=0.02)


@pytest.mark.parametrize(
    ("sizes", "tokens", "said"),
    [
        ([1e6] * 8, list(range(1, 9)), "has 1 size and 8 different numbers of tokens"),
        ([1e6, 2e6, 4e6] * 3, [1e7] * 9, "3 different sizes and 1 different number"),
        ([1e6, 2e6, 4e6], [1e7, 2e7, 4e7], "has 3 runs, and the law has five parameters"),
    ],
)
def test_what_cannot_tell_a_law(sizes: list[float], tokens: list[float], said: str) -> None:
    n, d = np.array(sizes, dtype=float), np.array(tokens, dtype=float)
    with pytest.raises(UserError, match=said):
        fit_law(Points(n, d, np.full(len(n), 3.0)))
