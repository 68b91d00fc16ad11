"""The distributions over levels: they sum to one, are what they are called, and are drawn from."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.models.images.likelihoods import (
    count_outputs,
    draw_levels,
    fit_alone,
    log_prob_of_levels,
)
from tests.subjects import seeded


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_the_levels_sum_to_one(levels: int) -> None:
    given = 3 * torch.randn(50, count_outputs(levels), 1, 1, generator=seeded(levels))
    x = torch.arange(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    for row in given:
        logp = log_prob_of_levels(x, row.expand(levels, -1, 1, 1), levels)
        assert float(logp.double().exp().sum()) == pytest.approx(1, abs=2e-5)


def test_the_logistic_has_the_mass_of_its_intervals() -> None:
    """By its distribution function in float64, which the code has nowhere."""
    levels, mean, scale = 5, 0.3, 0.4
    given = torch.tensor([mean, math.log(scale)]).view(1, 2, 1, 1)

    def below(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge - mean) / scale))

    edges = [-math.inf, -0.75, -0.25, 0.25, 0.75, math.inf]
    for level in range(levels):
        x = torch.full((1, 1, 1, 1), level, dtype=torch.uint8)
        high = 1.0 if level == levels - 1 else below(edges[level + 1])
        low = 0.0 if level == 0 else below(edges[level])
        said = float(log_prob_of_levels(x, given, levels).exp())
        assert said == pytest.approx(high - low, rel=1e-5)


@pytest.mark.parametrize("levels", [2, 5])
def test_draws_come_as_often_as_they_are_likely(levels: int) -> None:
    """40,000 draws, 4.5 deviations for each level: false alarm below 1e-4."""
    N = 40_000
    row = torch.tensor([0.4, -0.7][: count_outputs(levels)]).view(1, -1, 1, 1)
    drawn = draw_levels(row.expand(N, -1, 1, 1), levels, seeded(1)).flatten()
    x = torch.arange(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    p = log_prob_of_levels(x, row.expand(levels, -1, 1, 1), levels).exp().flatten()
    share = torch.bincount(drawn.long(), minlength=levels) / N
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / N).sqrt()).all()


def test_far_means_and_narrow_scales_stay_numbers() -> None:
    given = torch.tensor([[40.0, -30.0], [-40.0, 30.0], [0.0, -7.0]]).view(3, 2, 1, 1)
    given.requires_grad_()
    for level in (0, 7, 16):
        x = torch.full((3, 1, 1, 1), level, dtype=torch.uint8)
        logp = log_prob_of_levels(x, given, 17)
        assert logp.isfinite().all()
        (gradient,) = torch.autograd.grad(logp.sum(), given)
        assert gradient.isfinite().all()


def test_numbers_alone_have_their_counts_or_their_mean_and_deviation() -> None:
    x = torch.tensor([0, 0, 1, 0, 1, 1, 1], dtype=torch.uint8).view(-1, 1, 1, 1)
    assert float(fit_alone(x, 2).sigmoid()) == pytest.approx(5 / 9)
    grey = torch.tensor([0, 4, 2, 2], dtype=torch.uint8).view(-1, 1, 1, 1)  # −1, 1, 0, 0
    mean, log_scale = fit_alone(grey, 5).flatten().tolist()
    assert mean == pytest.approx(0)
    # A logistic of scale s has the variance s² π² / 3, and these numbers that of ½.
    assert math.exp(2 * log_scale) * math.pi**2 / 3 == pytest.approx(0.5)
    constant = torch.full((9, 1, 1, 1), 4, dtype=torch.uint8)
    assert math.isfinite(float(fit_alone(constant, 5)[1]))
