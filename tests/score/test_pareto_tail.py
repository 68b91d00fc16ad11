"""Pareto's k̂ of importance weights, against tails whose shape is known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from fledge.score.pareto_tail import fit_pareto, measure_tail, smooth_weights


@pytest.mark.parametrize("shape", [-0.2, 0.3, 0.7, 1.2])
def test_the_shape_of_pareto_draws_is_recovered(shape: float) -> None:
    x = stats.genpareto(shape, scale=2.0).rvs(4000, random_state=1)
    k, sigma = fit_pareto(torch.from_numpy(x).sort().values)
    assert k == pytest.approx(shape, abs=0.1)
    assert sigma == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("sd", [0.9, 0.7, 0.3])
def test_a_normal_drawn_too_narrow(sd: float) -> None:
    """Weights of N(0, 1) over N(0, σ²) have a tail of shape 1 − σ²."""
    z = sd * torch.randn(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_weight = -0.5 * z.square() + 0.5 * (z / sd).square() + math.log(sd)
    k = measure_tail(log_weight)
    assert k == pytest.approx(1 - sd**2, abs=0.2)
    assert (k > 0.7) == (sd == 0.3)


def test_q_that_is_p_has_weights_all_alike() -> None:
    noise = 1e-9 * torch.randn(1000, generator=torch.Generator().manual_seed(2)).double()
    assert measure_tail(torch.zeros(1000, dtype=torch.float64)) < 0.5
    weight, k = smooth_weights(noise)
    assert k < 0.7
    assert float(weight.exp().sum()) == pytest.approx(1)


def test_a_few_weights_say_nothing() -> None:
    assert measure_tail(torch.zeros(10, dtype=torch.float64)) == math.inf
