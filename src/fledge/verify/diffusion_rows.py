"""Diffusion beside its formulas: noise that adds up, the bound of normal data, samplers that reach
them, guidance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fledge.models.images.denoising import Denoising
from fledge.models.images.diffusion_bound import level_nats, step_nats
from fledge.models.images.flow import carry
from fledge.models.images.noise_levels import SHAPES, Schedule, add_noise, noise, signal
from fledge.models.images.samplers import (
    Denoise,
    posterior,
    walk,
    walk_ddim,
    walk_ddpm,
    walk_dpm,
)
from fledge.verify.rows import TableRow

ROUNDING = 1e-9
MEAN, DEVIATION = 0.5, 0.6  # of the normal data
NOISY, CLEAN = -8.0, 3.0


def clean_part(z: Tensor, log_snr: Tensor) -> tuple[Tensor, float]:
    """E[x | z] of x ∼ N(0.5, 0.6²), by Bayes' rule."""
    kept, gone = log_snr.sigmoid(), (-log_snr).sigmoid()
    gain = kept.sqrt() * DEVIATION**2 / (kept * DEVIATION**2 + gone)
    return MEAN + gain * (z - kept.sqrt() * MEAN), 0.0


def nothing(z: Tensor) -> Tensor:
    return torch.zeros_like(z)


def noise_row() -> TableRow:
    """Noise added step by step is noise added at once, in every schedule."""
    error = 0.0
    for shape in SHAPES:
        levels = Schedule(shape).levels()
        t, s = levels[1:], levels[:-1]
        added = posterior(t, s)[3]
        twice = (signal(t) / signal(s)) ** 2 * noise(s) ** 2 + added
        error = max(error, float((twice - noise(t) ** 2).abs().max()))
    return TableRow(
        "G12.1", "noise of a diffusion", "q(z_t | x) = ∫ q(z_t | z_s) q(z_s | x)", error, ROUNDING,
        f"{len(SHAPES)} schedules of 1,000 steps to {error:.1e}",
    )  # fmt: skip


def bound_row() -> TableRow:
    """A chain's bound on normal data: the sum of its terms' expectations ends at the entropy as
    steps become many, and never falls below it.
    """
    entropy = 0.5 * math.log(2 * math.pi * math.e * DEVIATION**2)
    over: list[float] = []
    for steps in (500, 1000, 2000):
        # even in λ: a schedule's first steps are far apart, however many there are
        levels = torch.linspace(12, NOISY, steps, dtype=torch.float64)
        t, s = levels[1:], levels[:-1]
        off = DEVIATION**2 / (1 + t.exp() * DEVIATION**2)  # E (x − x̂)²
        zero = torch.zeros(len(t), dtype=torch.float64)
        inner = step_nats(off.sqrt(), zero, 0.0, t, s).sum()
        kept = float(levels[-1].sigmoid())
        prior = 0.5 * (kept * (DEVIATION**2 + MEAN**2 - 1) - math.log(1 - kept))
        decoder = 0.5 * (math.log(2 * math.pi) - 12 + 1)
        over.append(float(inner) + prior + decoder - entropy)
    sinks = over[0] > over[1] > over[2] > 0
    # Halving the steps' length halves what they cost: what is left in the limit is the last twice
    # less the one before, and p(z_T)'s share, which is prior.
    limit = 2 * over[2] - over[1] if sinks else math.inf
    return TableRow(
        "G12.2", "the bound of a diffusion", "ends at the entropy of normal data", abs(limit), 2e-3,
        f"{over[0]:.4f}, {over[1]:.4f}, {over[2]:.4f} nats above {entropy:.3f} with 500, 1,000 and "
        "2,000 steps",
    )  # fmt: skip


def decoder_row() -> TableRow:
    z = torch.linspace(-2, 2, 9).view(9, 1, 1, 1)
    every = [
        level_nats(torch.full(z.shape, level), z, torch.tensor(2.0), 5).neg().exp()
        for level in range(5)
    ]
    error = float((torch.stack(every).sum(0) - 1).abs().max())
    return TableRow(
        "G12.3",
        "the decoder of levels",
        "sums to 1",
        error,
        ROUNDING,
        f"five levels to {error:.1e}",
    )


def sampler_row(place: int, name: str, order: int) -> TableRow:
    """What the probability flow of normal data reaches is known."""
    z = torch.tensor([-2.0, 0.3, 1.7], dtype=torch.float64)
    ends = torch.tensor([NOISY, CLEAN], dtype=torch.float64)
    a, b = signal(ends)
    wide, narrow = (signal(ends) ** 2 * DEVIATION**2 + noise(ends) ** 2).sqrt()
    wanted = b * MEAN + narrow / wide * (z - a * MEAN)
    errors: list[float] = []
    for steps in (200, 400):
        if name == "flow":
            # t of the flow in place of λ, from noise itself: it keeps the place among all
            times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
            reached, wanted = carry(flow_speed, z, times, "heun"), MEAN + DEVIATION * z
        else:
            levels = torch.linspace(NOISY, CLEAN, steps + 1, dtype=torch.float64)
            reached = walk(name, clean_part, z, levels, nothing)  # type: ignore[arg-type]
        errors.append(float((reached - wanted).abs().max()))
    rate = math.log2(errors[0] / errors[1])
    return TableRow(
        f"G12.{place}", f"{name}", f"its error is of order {order} in the step", abs(rate - order),
        0.2, f"{errors[0]:.1e} with 200 steps, {errors[1]:.1e} with 400: order {rate:.2f}",
    )  # fmt: skip


def flow_speed(x: Tensor, t: Tensor) -> Tensor:
    """E[ε − x₀ | x_t] of the normal data."""
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    apart = x - (1 - t) * MEAN
    return (t - (1 - t) * DEVIATION**2) / variance * apart - MEAN


def ancestral_rows() -> list[TableRow]:
    """DDIM with all noise; and DPM-Solver++ with all, where the clean picture is known: there its
    history adds nothing.
    """
    levels = torch.linspace(NOISY, CLEAN, 30, dtype=torch.float64)
    z = torch.tensor([-1.0, 0.4], dtype=torch.float64)

    def apart(other: Callable[..., Tensor], denoise: Denoise) -> float:
        walks: list[Tensor] = []
        for each in (walk_ddpm, partial(other, eta=1.0)):
            random = torch.Generator().manual_seed(0)

            def draw(z: Tensor, random: torch.Generator = random) -> Tensor:
                return torch.randn(z.shape, dtype=z.dtype, generator=random)

            walks.append(each(denoise, z, levels, draw))
        return float((walks[0] - walks[1]).abs().max())

    error, known = apart(walk_ddim, clean_part), apart(walk_dpm, lambda z, at: (MEAN + 0 * z, 0.0))
    return [
        TableRow(
            "G12.8", "DDIM with η = 1", "is DDPM, noise for noise", error, ROUNDING,
            f"30 steps to {error:.1e}",
        ),
        TableRow(
            "G12.11", "DPM-Solver++ with η = 1", "is DDPM where the picture is known", known,
            ROUNDING, f"30 steps to {known:.1e}",
        ),
    ]  # fmt: skip


def guidance_row() -> TableRow:
    """x̂ with weight 0, 1 and 2 lie on a line, from no label to the label."""
    settings = {
        "noise_schedule": "cosine", "noise_steps": 100, "prediction": "v", "variance": "small",
        "network": "layers", "width": 8, "layers": 1,
    }  # fmt: skip
    random = torch.Generator().manual_seed(0)
    denoising = Denoising((1, 2, 2), 3, settings)
    for parameter in denoising.parameters():
        nn.init.normal_(parameter, generator=random)
    z, label = torch.randn(4, 1, 2, 2, generator=random), torch.tensor([0, 1, 2, 0])
    at = torch.tensor(0.3)
    with torch.no_grad():
        free, asked, beyond = (denoising.guess(z, at, label, w)[0] for w in (0.0, 1.0, 2.0))
        none, _ = denoising.guess(z, at)
    error = float((free - none).abs().max() + (beyond - 2 * asked + free).abs().max())
    if float((asked - free).abs().max()) < 1e-3:
        error = math.inf
    return TableRow(
        "G12.9", "guidance by label", "0 is no label, 1 the label, 2 as far beyond", error, 1e-4,
        f"to {error:.1e}",
    )  # fmt: skip


def prediction_row() -> TableRow:
    """ε, v and x say the same clean picture."""
    random = torch.Generator().manual_seed(1)
    x, epsilon = (torch.randn(6, 1, 2, 2, generator=random).double() for _ in range(2))
    log_snr = torch.linspace(-4, 4, 6).double()
    error = 0.0
    for prediction in ("epsilon", "v", "x"):
        settings = {
            "noise_schedule": "cosine", "noise_steps": 100, "prediction": prediction,
            "variance": "small", "network": "layers", "width": 4, "layers": 1,
        }  # fmt: skip
        denoising = Denoising((1, 2, 2), 0, settings)
        said = denoising.target(x, epsilon, log_snr)
        clean = denoising.to_clean(said, add_noise(x, log_snr, epsilon), log_snr)
        error = max(error, float((clean - x).abs().max()))
    return TableRow(
        "G12.10", "ε, v and x", "say the same clean picture", error, ROUNDING, f"to {error:.1e}"
    )


def diffusion_rows() -> list[TableRow]:
    samplers = (("ddim", 1), ("dpm++", 2), ("heun", 2), ("flow", 2))
    return [
        noise_row(),
        bound_row(),
        decoder_row(),
        *(sampler_row(4 + place, *each) for place, each in enumerate(samplers)),
        *ancestral_rows(),
        guidance_row(),
        prediction_row(),
    ]
