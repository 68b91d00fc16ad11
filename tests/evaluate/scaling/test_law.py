"""What a law says of a budget, against the best of a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.evaluate.scaling.law import Law, tokens_left
from tests.evaluate.scaling.laws import TRUE, loss_of


@pytest.mark.parametrize("served", [0.0, 1e7, 1e9])
def test_the_best_size_is_the_best_of_a_grid(served: float) -> None:
    budget = 1e15
    sizes = np.geomspace(1e3, 1e9, 400_001)
    tokens = (budget - 2 * sizes * served) / (6 * sizes)
    sizes, tokens = sizes[tokens > 0], tokens[tokens > 0]
    best = sizes[loss_of(sizes, tokens).argmin()]
    assert float(TRUE.best_parameters(budget, served)) == pytest.approx(best, rel=1e-4)
    left = tokens_left(budget, np.asarray(best), served)
    assert 6 * best * left + 2 * best * served == pytest.approx(budget)


def test_what_lowers_no_loss_gets_nothing_of_a_budget() -> None:
    assert float(Law(1, 2, 3, -0.1, 0.3).best_parameters(6e9)) == 1
    assert float(Law(1, 2, 3, 0.3, -0.1).best_parameters(6e9)) == pytest.approx(1e9)
    assert float(Law(1, 2, 3, 1e-9, 1e-9).best_parameters(6e9)) == 1  # A < B: tokens, all of it


def test_serving_makes_the_best_size_smaller() -> None:
    sizes = [float(TRUE.best_parameters(1e15, served)) for served in (0.0, 1e8, 1e9, 1e11)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
