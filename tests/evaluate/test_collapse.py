"""Whether codes say anything, where it is known what they say."""

from __future__ import annotations

import math

import torch
from torch.distributions import Normal, kl_divergence

from fledge.evaluate.collapse import measure_codes


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_that_are_all_alike_know_nothing() -> None:
    mean, log_deviation = torch.full((50, 3), 0.4), torch.full((50, 3), -0.3)
    codes = measure_codes(mean, log_deviation, seeded(0))
    assert codes.active == 0
    assert abs(codes.information_low) < 1e-9
    assert abs(codes.information_high) < 1e-9
    wanted = kl_divergence(Normal(0.4, math.exp(-0.3)), Normal(0.0, 1.0))
    assert all(math.isclose(kl, float(wanted), rel_tol=1e-6) for kl in codes.kl)


def test_codes_far_apart_know_which_thing_it_is() -> None:
    mean = 100 * torch.arange(64.0)[:, None]
    codes = measure_codes(mean, torch.zeros(64, 1), seeded(1))
    assert math.isclose(codes.information_low, math.log(64), rel_tol=1e-9)
    assert codes.information_high > 100
    assert codes.active == 1


def test_the_bounds_hold_what_normal_codes_know() -> None:
    """x of N(0, 1), z = a x + s ε in one unit and noise alone in the other: I = ½ log(1 + a² / s²).
    With 2,000 things both bounds are near; false alarms once in a million.
    """
    a, s, N = 0.8, 0.5, 2000
    x = torch.randn(N, generator=seeded(2))
    mean = torch.stack([a * x, torch.zeros(N)], 1)
    log_deviation = torch.tensor([math.log(s), 0.0]).expand(N, 2)
    codes = measure_codes(mean, log_deviation, seeded(3))
    truth = 0.5 * math.log(1 + a**2 / s**2)
    # log q(z | x) − log q(z) has a deviation of about 1 a thing.
    noise = 5 / math.sqrt(N)
    assert codes.information_low <= codes.information_high
    assert truth - noise - 0.02 < codes.information_low < truth + noise
    assert truth - noise < codes.information_high < truth + noise + 0.02
    assert codes.active == 1
    assert codes.kl[1] == 0.0
