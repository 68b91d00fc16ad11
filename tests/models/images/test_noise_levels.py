"""Schedules beside their formulas written out step by step, and beside diffusers'."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fledge.models.images.noise_levels import (
    CLEANEST,
    NOISIEST,
    SHAPES,
    Schedule,
    Whole,
    add_noise,
    certain_from,
    noise,
    signal,
)
from fledge.models.images.samplers import posterior

DIFFUSERS = {
    "linear": "linear", "cosine": "squaredcos_cap_v2", "sigmoid_beta": "sigmoid",
}  # fmt: skip


def kept_by_hand(shape: str, T: int) -> list[float]:
    """ᾱ_1 … ᾱ_T, as the papers write them, in plain Python."""
    kept, product = [], 1.0

    def cosine(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def jabri(u: float) -> float:
        return (sigmoid(3 - 6 * u) - sigmoid(-3)) / (sigmoid(3) - sigmoid(-3))

    for t in range(1, T + 1):
        at = (t - 1) / (T - 1)
        if shape == "linear":
            beta = 1e-4 + (0.02 - 1e-4) * at
        elif shape == "sigmoid_beta":
            beta = 1e-4 + (0.02 - 1e-4) * sigmoid(-6 + 12 * at)
        else:
            f = cosine if shape == "cosine" else jabri
            beta = min(1 - f(t / T) / f((t - 1) / T), 0.999)
        product *= 1 - beta
        kept.append(product)
    return kept


@pytest.mark.parametrize("shape", SHAPES)
def test_a_chain_is_the_product_of_its_steps(shape: Any) -> None:
    levels = Schedule(shape).levels()
    wanted = torch.tensor(kept_by_hand(shape, 1000), dtype=torch.float64)
    torch.testing.assert_close(levels.sigmoid(), wanted, rtol=1e-9, atol=0)
    torch.testing.assert_close((-levels).sigmoid(), 1 - wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("shape", DIFFUSERS)
def test_a_chain_is_diffusers(shape: Any) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(beta_schedule=DIFFUSERS[shape]).alphas_cumprod
    ours = Schedule(shape).levels().sigmoid()
    # theirs is a product of a thousand numbers in float32
    torch.testing.assert_close(ours.float(), theirs, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_added_twice_is_noise_added_once(shape: Any) -> None:
    """q(z_t | x) = ∫ q(z_t | z_s) q(z_s | x), with q(z_t | z_s) = N(α_t/α_s z_s, β)."""
    levels = Schedule(shape).levels()
    t, s = levels[[1, 50, 500, 999]], levels[[0, 10, 499, 998]]
    added = posterior(t, s)[3]
    ratio = signal(t) / signal(s)
    torch.testing.assert_close(ratio**2 * noise(s) ** 2 + added, noise(t) ** 2)
    torch.testing.assert_close(signal(t) ** 2 + noise(t) ** 2, torch.ones(4, dtype=torch.float64))


def test_the_posterior_is_that_of_joint_normals() -> None:
    """z_s and z_t given x are jointly normal: q(z_s | z_t, x) by the covariance alone."""
    t, s = torch.tensor([-3.0, 0.5, 6.0]).double(), torch.tensor([-2.9, 2.0, 6.5]).double()
    ratio = signal(t) / signal(s)
    cross = ratio * noise(s) ** 2
    gain = cross / noise(t) ** 2
    a, b, v, _ = posterior(t, s)
    torch.testing.assert_close(a, gain)
    torch.testing.assert_close(b, signal(s) - gain * signal(t))
    torch.testing.assert_close(v, noise(s) ** 2 - gain * cross)


@pytest.mark.parametrize("shape", SHAPES)
def test_continuous_time_is_the_limit_of_many_steps(shape: Any) -> None:
    T = 100_000
    u = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64)
    chain = Schedule(shape, T, math.inf).levels()[(u * T).long() - 1]
    torch.testing.assert_close(Whole(shape).at(u), chain, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_continuous_time_falls_from_end_to_end(shape: Any) -> None:
    log_snr = Schedule(shape, 0).at(torch.linspace(0, 1, 50))
    assert (log_snr[1:] < log_snr[:-1]).all()
    assert float(log_snr.max()) <= CLEANEST + 1e-6
    assert float(log_snr.min()) >= NOISIEST - 1e-6
    reached = {"linear": -10.05, "sigmoid_beta": -10.05}.get(shape, NOISIEST)
    assert float(log_snr[-1]) == pytest.approx(reached, abs=0.02)


def test_levels_are_certain_where_noise_ends() -> None:
    """Five deviations to half-way: of 100,000 pixels of two levels less than one is read wrong."""
    for levels in (2, 17, 256):
        at = torch.tensor(certain_from(levels), dtype=torch.float64)
        half_way = signal(at) / (levels - 1) / noise(at)
        assert 0.5 * math.erfc(float(half_way) / math.sqrt(2)) < 1e-6
        chain = Schedule("cosine", 1000, float(at)).levels()
        assert float(chain[0]) <= float(at)
        assert float(Schedule("cosine", 0, float(at)).at(torch.zeros(1))) == pytest.approx(
            float(at)
        )


def test_the_ends_are_the_clean_picture_and_noise() -> None:
    x, epsilon = torch.rand(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    assert torch.equal(add_noise(x, torch.tensor([torch.inf] * 2), epsilon), x)
    assert torch.equal(add_noise(x, torch.tensor([-torch.inf] * 2), epsilon), epsilon)
