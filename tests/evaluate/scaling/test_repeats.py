"""What repeated tokens are worth: the paper's formulas written once more, and the fitter finds the
constants it is given.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.evaluate.scaling.bootstrap import fit_with_intervals
from fledge.evaluate.scaling.law import Law, Points
from fledge.evaluate.scaling.repeats import (
    RepeatedLaw,
    deserve_parameters,
    fit_repeats,
    fit_repeats_with_intervals,
    is_repeated,
)
from tests.evaluate.scaling.laws import TRUE, make_runs

DATA, PARAMETERS = 15.4, 5.3  # as published: R*_D 15.39, R*_N 5.31


def loss_of(n: float, d: float, u: float) -> float:
    """Eq. 5 to 7, and N_opt of U by trying sizes: the one at which no exchange of parameters for
    tokens, at equal N · D, would help.
    """
    low, high = 1.0, 1e15
    for _ in range(200):
        middle = math.sqrt(low * high)
        gain_of_size = 0.35 * 40.0 * middle**-0.35
        gain_of_data = 0.33 * 60.0 * u**-0.33
        low, high = (middle, high) if gain_of_size > gain_of_data else (low, middle)
    own = min(n, low)
    d_again, n_again = d / u - 1, n / own - 1
    data = u + u * DATA * (1 - math.exp(-d_again / DATA))
    size = own + own * PARAMETERS * (1 - math.exp(-n_again / PARAMETERS))
    return 1.0 + 40.0 / size**0.35 + 60.0 / data**0.33


def make_repeated(noise: float, seed: int = 0) -> Points:
    """Three unique amounts, of each sizes around what they deserve, and 2 to 100 epochs."""
    rows = [
        (size * u / 20, u * epochs, u)
        for u in (1e5, 4e5, 1.6e6)
        for size in (0.3, 3.0, 30.0)
        for epochs in (2, 5, 15, 40, 100)
    ]
    n, d, u = np.array(rows).T
    luck = np.random.default_rng(seed).normal(size=len(rows))
    loss = np.array([loss_of(*row) for row in rows]) * np.exp(noise * luck)
    return Points(n, d, loss, u)


def test_effective_amounts_are_the_papers() -> None:
    points = make_repeated(0.0)
    law = RepeatedLaw(TRUE, DATA, PARAMETERS)
    said = law.foretell(points.parameters, points.tokens, points.unique)
    np.testing.assert_allclose(said, points.loss, rtol=1e-9)
    # once is the law itself; without end U (1 + R*), and parameters no more than deserved are all
    n = float(deserve_parameters(TRUE, 1e6)) / 2
    np.testing.assert_allclose(law.effective(n, 1e6, 1e6), (n, 1e6))
    np.testing.assert_allclose(law.effective(n, 1e12, 1e6), (n, 1e6 * (1 + DATA)))
    budget = 6 * float(deserve_parameters(TRUE, 1e6)) * 1e6
    assert float(deserve_parameters(TRUE, 1e6)) == pytest.approx(
        float(TRUE.best_parameters(budget))
    )


def test_without_noise_both_constants_come_back() -> None:
    points = make_repeated(0.0)
    fit = fit_repeats(TRUE, points, np.ones(len(points)))
    assert fit.data == pytest.approx(DATA, rel=1e-3)
    assert fit.parameters == pytest.approx(PARAMETERS, rel=1e-3)


def test_many_laws_at_once_are_each_fitted_alone() -> None:
    points = make_repeated(0.01)
    weight = np.random.default_rng(0).integers(0, 3, size=(2, len(points))).astype(float)
    fields = [np.array([[value], [value * 1.01]]) for value in vars(TRUE).values()]
    both = fit_repeats(Law(*fields), points, weight, 0.03)
    for row in range(2):
        law = Law(*(float(each[row, 0]) for each in fields))
        alone = fit_repeats(law, points, weight[row], 0.03)
        assert np.asarray(both.data)[row, 0] == pytest.approx(alone.data)
        assert np.asarray(both.parameters)[row, 0] == pytest.approx(alone.parameters)


def test_intervals_hold_the_constants_of_noisy_runs() -> None:
    """A fixed draw of 0.2 % of luck, 99 % intervals."""
    base = fit_with_intervals(make_runs(1, noise=0.002), resamples=100, share=0.99)
    told = fit_repeats_with_intervals(base, make_repeated(0.002), resamples=100)
    assert told.parameters is not None
    assert DATA in told.data
    assert PARAMETERS in told.parameters
    assert told.data.high < 3 * told.data.low
    narrow = make_repeated(0.002)
    narrow = narrow.take(narrow.parameters < deserve_parameters(base.law, narrow.unique))
    assert fit_repeats_with_intervals(base, narrow, resamples=50).parameters is None


def test_a_law_that_deserves_no_size_leaves_all_sizes_as_they_are() -> None:
    law = RepeatedLaw(Law(1.0, 2.0, 3.0, -0.1, 0.3), DATA, PARAMETERS)
    assert law.effective(1e9, 1e6, 1e6) == (1e9, 1e6)


def test_too_few_and_those_that_do_not_repeat() -> None:
    points = make_repeated(0.0)
    assert is_repeated(points).all()
    assert not is_repeated(make_runs(0)).any()
    base = fit_with_intervals(make_runs(1), resamples=50)
    with pytest.raises(UserError, match="2 of the runs saw tokens again"):
        fit_repeats_with_intervals(base, points.take(np.arange(2)))


@pytest.mark.parametrize("unique", [1e5, 1e6, 1e12])
def test_the_best_epochs_are_where_no_other_size_has_less_loss(unique: float) -> None:
    """By the formulas above, over 4,000 sizes; of tokens without end it is the law's own size."""
    budget = 6 * 3e5 * 6e6
    law = RepeatedLaw(TRUE, DATA, PARAMETERS)
    ours = float(law.best_parameters(budget, unique)[0, 0])
    sizes = np.geomspace(1e3, 1e8, 4001)
    tokens = budget / 6 / sizes
    losses = [
        loss_of(n, d, unique) if d > unique else loss_of(n, d, d)
        for n, d in zip(sizes, tokens, strict=True)
    ]
    if unique == 1e12:
        assert ours == pytest.approx(float(TRUE.best_parameters(budget)), rel=0.01)
        return
    assert ours == pytest.approx(sizes[int(np.argmin(losses))], rel=0.01)
    assert budget / 6 / ours > 1.5 * unique  # they are seen again


def test_epochs_have_an_interval_and_sizes_that_no_run_tells_of_are_left_out() -> None:
    base = fit_with_intervals(make_runs(1, noise=0.002), resamples=60, share=0.99)
    points, budget = make_repeated(0.002), 6 * 3e5 * 6e6
    told = fit_repeats_with_intervals(base, points, resamples=60)
    size, epochs = told.best_epochs(budget, 1e5)
    true = float(RepeatedLaw(TRUE, DATA, PARAMETERS).best_parameters(budget, 1e5)[0, 0])
    assert size.low / 1.1 < true < size.high * 1.1
    assert epochs.value == pytest.approx(budget / 6 / size.value / 1e5)
    narrow = points.take(points.parameters < deserve_parameters(base.law, points.unique))
    size, _ = fit_repeats_with_intervals(base, narrow, resamples=60).best_epochs(budget, 1e5)
    assert size.value <= float(deserve_parameters(base.law, 1e5)) * 1.001
