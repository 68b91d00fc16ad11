"""Laws of mixtures that are known: their slopes, their best shares, and how often the interval has
them.
"""

from __future__ import annotations

import numpy as np
import pytest

from fledge.curate.mixture_law import MixtureLaw, draw_shares, find_best, fit_law, minimise

TWO = MixtureLaw(np.array([1.0, 2.0]), np.array([[-2.0, 0.5], [0.3, -1.5]]))
THREE = MixtureLaw(
    np.array([0.5, 1.5, 1.0]), np.array([[-3.0, 0.4, 0.2], [0.3, -2.0, 0.1], [0.5, 0.1, -1.0]])
)


def best_of_two(law: MixtureLaw) -> float:
    """The first share w, where the derivative of Σ_j exp(t_j2 + (t_j1 − t_j2) w) is 0: of two
    terms, one of which rises.
    """
    (down, up), (base, other) = law.slope[:, 0] - law.slope[:, 1], law.slope[:, 1]
    return float((np.log(up / -down) + other - base) / (down - up))


def test_the_best_of_two_is_where_the_derivative_is_zero() -> None:
    wanted = best_of_two(TWO)
    assert 0.2 < wanted < 0.8
    assert minimise([TWO], np.array([0.5, 0.5]))[0] == pytest.approx([wanted, 1 - wanted], abs=1e-4)


def test_no_other_mixture_of_three_is_better() -> None:
    """Held against 20,000 drawn ones."""
    weight = np.array([0.5, 0.3, 0.2])
    [best] = minimise([THREE], weight)
    assert best.sum() == pytest.approx(1)
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), size=20_000)
    losses = THREE.foretell(drawn) @ weight
    mine = float((THREE.foretell(best[None]) @ weight)[0])
    assert mine <= losses.min() + 1e-9
    assert np.abs(best - drawn[losses.argmin()]).max() < 0.02


def test_what_helps_nothing_gets_nothing() -> None:
    """Of a source that raises all losses the best share is none."""
    law = MixtureLaw(np.array([1.0]), np.array([[-1.0, 0.5]]))
    assert minimise([law], np.ones(1))[0] == pytest.approx([1.0, 0.0], abs=1e-3)


@pytest.mark.parametrize("law", [TWO, THREE])
def test_runs_without_luck_give_the_law_back(law: MixtureLaw) -> None:
    sources = law.slope.shape[1]
    shares = draw_shares(sources, 14, 0)
    assert shares.sum(1) == pytest.approx(1)
    assert shares.min() > 0.0199
    again = fit_law(shares, law.foretell(shares))
    other = np.random.default_rng(1).dirichlet(np.ones(sources), size=200)
    assert again.foretell(other) == pytest.approx(law.foretell(other), rel=2e-3)


def test_the_interval_covers() -> None:
    """10 studies with luck of 0.01 in losses that differ by some 0.3: a 95 % interval misses one at
    most, and five or more less than once in 10⁴ times.
    """
    wanted, random, missed, widths = best_of_two(TWO), np.random.default_rng(2), 0, []
    shares = draw_shares(2, 12, 0)
    for number in range(10):
        losses = TWO.foretell(shares) + random.normal(0, 0.01, (12, 2))
        told = find_best(shares, losses, [1, 1], seed=number)
        missed += not told.low[0] <= wanted <= told.high[0]
        widths.append(told.high[0] - told.low[0])
        assert told.error < 0.5
    assert missed < 5
    assert np.median(widths) < 0.15
