"""Every sampler on data whose clean picture is known exactly, and beside diffusers'."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.models.images.noise_levels import Schedule, noise, signal
from fledge.models.images.samplers import (
    choose_levels,
    posterior,
    step_variance,
    walk,
    walk_ddim,
    walk_ddpm,
    walk_dpm,
)

MEAN, DEVIATION = 0.5, 0.6
START, STOP = -8.0, 3.0


def exact(z: Tensor, log_snr: Tensor) -> tuple[Tensor, float]:
    """E[x | z] of x ∼ N(0.5, 0.6²)."""
    a, s2 = signal(log_snr), (-log_snr).sigmoid()
    gain = a * DEVIATION**2 / (a**2 * DEVIATION**2 + s2)
    return MEAN + gain * (z - a * MEAN), 0.0


def spread_at(log_snr: float) -> float:
    """The deviation of z."""
    at = torch.tensor(log_snr, dtype=torch.float64)
    return math.sqrt(float(signal(at) ** 2) * DEVIATION**2 + float(noise(at) ** 2))


def flow_exactly(z: Tensor) -> Tensor:
    """Where the probability flow carries z from START to STOP: it keeps the place among all."""
    a, b = (float(signal(torch.tensor(at).double())) for at in (START, STOP))
    return b * MEAN + spread_at(STOP) / spread_at(START) * (z - a * MEAN)


def no_noise(z: Tensor) -> Tensor:
    raise AssertionError("nothing is to be drawn")


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm++", 2), ("heun", 2)])
def test_the_error_falls_with_the_steps_at_the_order_of_the_sampler(
    sampler: Any, order: int
) -> None:
    z = torch.tensor([-2.0, -0.3, 0.0, 1.7], dtype=torch.float64)
    errors = []
    for steps in (100, 200, 400):
        levels = torch.linspace(START, STOP, steps + 1, dtype=torch.float64)
        reached = walk(sampler, exact, z, levels, no_noise)
        errors.append(float((reached - flow_exactly(z)).abs().max()))
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert rates == pytest.approx([order] * 2, abs=0.15)
    assert errors[-1] < (1e-2 if order == 1 else 2e-3)


def moments(sampler: str, steps: int, eta: float = 1.0) -> tuple[float, float]:
    """Mean and variance of what comes out, without a draw: everything is linear, so that one walk
    for each noise alone says what it adds.
    """
    levels = torch.linspace(START, 12.0, steps, dtype=torch.float64)
    levels = torch.cat([levels, torch.tensor([torch.inf], dtype=torch.float64)])
    z = torch.zeros(steps + 2, dtype=torch.float64)
    z[1] = 1.0  # row 0: nothing; row 1: the start; row 1 + k: the k-th noise
    drawn = 0

    def one_by_one(z: Tensor) -> Tensor:
        nonlocal drawn
        drawn += 1
        return torch.eye(len(z), dtype=z.dtype)[1 + drawn]

    out = walk(sampler, exact, z, levels, one_by_one, eta)  # type: ignore[arg-type]
    return float(out[0]), float(((out[1:] - out[0]) ** 2).sum())


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_what_draws_has_the_mean_and_the_variance_of_the_data(sampler: str) -> None:
    apart = [abs(moments(sampler, steps)[1] - DEVIATION**2) for steps in (50, 100, 200)]
    assert apart[2] < 0.02
    assert [a / b for a, b in pairwise(apart)] == pytest.approx([2, 2], abs=0.2)
    assert moments(sampler, 200)[0] == pytest.approx(MEAN, abs=1e-3)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_dpm_solver_with_noise_errs_less_from_few_steps(eta: float) -> None:
    """With half of the step its variance is four times as near, and nearer than DDPM's."""
    apart = [abs(moments("dpm++", steps, eta)[1] - DEVIATION**2) for steps in (25, 50, 100)]
    assert all(a / b > 2.8 for a, b in pairwise(apart))
    assert apart[0] < abs(moments("ddpm", 25)[1] - DEVIATION**2) / 4
    assert moments("dpm++", 100, eta)[0] == pytest.approx(MEAN, abs=1e-3)


def test_ddim_with_all_noise_is_ddpm() -> None:
    """The same walk, noise for noise: so its variance is DDPM's."""
    levels = choose_levels("ddpm", Schedule("linear").levels(), (0, 0), 40)
    z = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    walks = []
    for each in (walk_ddpm, lambda *given: walk_ddim(*given, eta=1.0)):
        generator = torch.Generator().manual_seed(2)

        def draw(z: Tensor, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(z.shape, dtype=z.dtype, generator=generator)

        walks.append(each(exact, z, levels, draw))
    torch.testing.assert_close(walks[0], walks[1], rtol=1e-9, atol=1e-9)


def test_dpm_solver_with_all_noise_is_ddpm_where_the_clean_picture_is_known() -> None:
    """Of a picture that is certain a step of second order is one of first, and that one is q(z_s |
    z_t, x), noise for noise.
    """
    picture = torch.tensor([0.3, -0.8, 1.0], dtype=torch.float64)
    levels = choose_levels("dpm++", None, (-8.0, 6.0), 12)
    z = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def certain(z: Tensor, log_snr: Tensor) -> tuple[Tensor, float]:
        return picture, 0.0

    for stop in (levels[:-1], levels):
        walks = []
        for each in (walk_ddpm, lambda *given: walk_dpm(*given, eta=1.0)):
            generator = torch.Generator().manual_seed(2)

            def draw(z: Tensor, generator: torch.Generator = generator) -> Tensor:
                return torch.randn(z.shape, dtype=z.dtype, generator=generator)

            walks.append(each(certain, z, stop, draw))
        torch.testing.assert_close(walks[0], walks[1], rtol=1e-9, atol=1e-9)
        assert (walks[0] - picture).abs().max() > 1e-3 or stop[-1] == torch.inf


def test_the_variance_lies_between_the_two_by_its_fraction() -> None:
    t, s = torch.tensor([-1.0, 2.0]).double(), torch.tensor([-0.7, 2.4]).double()
    _, _, small, large = posterior(t, s)
    beta = 1 - t.sigmoid() / s.sigmoid()
    torch.testing.assert_close(large, beta)
    torch.testing.assert_close(small, beta * (1 - s.sigmoid()) / (1 - t.sigmoid()))
    torch.testing.assert_close(step_variance(small, large, 0.5), (small * large).sqrt())
    torch.testing.assert_close(step_variance(small, large, 1.0), large)


def test_a_grid_rises_from_the_noisiest_step_to_the_clean_picture() -> None:
    chain = Schedule("cosine").levels()
    ends = (float(chain[-1]), float(chain[0]))
    for sampler in ("ddpm", "ddim", "dpm++", "heun"):
        levels = choose_levels(sampler, chain, ends, 7)  # type: ignore[arg-type]
        assert len(levels) == 8
        assert (levels[1:] > levels[:-1]).all()
        assert float(levels[0]) == pytest.approx(ends[0])
        assert levels[-1] == torch.inf
    whole = choose_levels("ddpm", chain, ends, 1000)
    assert torch.equal(whole[:-1], chain.flip(0))


def said(z: Tensor, log_snr: Tensor) -> Tensor:
    """ε̂, of no data at all: bent, and other at every noise."""
    return (z * 0.8 + 0.1 * log_snr).tanh()


def guess(z: Tensor, log_snr: Tensor) -> tuple[Tensor, float]:
    x = (z - noise(log_snr).to(z) * said(z, log_snr)) / signal(log_snr).to(z)
    return x, 0.0


@pytest.mark.parametrize(
    "name", ["ddpm", "ddim", "ddim with noise", "dpm++", "dpm++ with noise", "heun"]
)
def test_a_walk_is_diffusers(name: str) -> None:
    """Their grid, our steps: the same pictures, but for their float32."""
    diffusers = pytest.importorskip("diffusers")
    sampler: Any = name.split()[0]
    kind = {
        "ddpm": "DDPMScheduler", "dpm++": "DPMSolverMultistepScheduler",
        "heun": "HeunDiscreteScheduler",
    }.get(sampler, "DDIMScheduler")  # fmt: skip
    kept: dict[str, Any] = {} if sampler in ("dpm++", "heun") else {"clip_sample": False}
    if name == "dpm++ with noise":
        kept["algorithm_type"] = "sde-dpmsolver++"
    theirs = getattr(diffusers, kind)(beta_schedule="linear", **kept)
    theirs.set_timesteps(25)
    chain = Schedule("linear").levels()
    z = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    x = z
    given: dict[str, Any] = {"generator": generator} if name in ("ddpm", "ddim") else {}
    drawn: list[Tensor] = []
    eta = {"ddim with noise": 0.5, "dpm++ with noise": 1.0}.get(name, 0.0)
    stops = [chain[int(t)] for t in theirs.timesteps]
    if name == "heun":  # theirs says σ̄, and a time that lies between two
        stops = [-2 * spread.double().log() for spread in theirs.sigmas[:-1]]
        x = z / signal(stops[0])
    for t, log_snr in zip(theirs.timesteps, stops, strict=True):
        told = theirs.scale_model_input(x, t)
        step = dict(given)
        if eta:
            drawn.append(torch.randn(z.shape, dtype=z.dtype, generator=generator))
            step = {"variance_noise": drawn[-1]}
            step |= {"eta": eta} if sampler == "ddim" else {}
        x = theirs.step(said(told, log_snr), t, x, **step).prev_sample
    if name == "heun":
        stops = [stops[0], *stops[1::2]]  # named twice, once for each time that it asks
    levels = torch.stack([*stops, torch.tensor(torch.inf, dtype=torch.float64)])
    generator = torch.Generator().manual_seed(4)

    def draw(z: Tensor) -> Tensor:
        return drawn.pop(0) if drawn else torch.randn(z.shape, dtype=z.dtype, generator=generator)

    ours = walk(sampler, guess, z, levels, draw, eta)
    torch.testing.assert_close(ours, x.double(), rtol=3e-4, atol=3e-4)
