"""From noise to pictures: the samplers of a diffusion, each a walk down a list of log-SNRs, with a
function that says what the clean picture would be.

A walk ends at λ = ∞, which is x̂ itself, or at any other λ, for whoever wants to look. Whatever is
random is handed in: `draw(z)` gives noise like z.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from fledge.models.images.noise_levels import noise, signal

Guess = tuple[Tensor, Tensor | float]
Denoise = Callable[[Tensor, Tensor], Guess]
"""(z, λ []) -> x̂, like z; and where the variance of a step back lies between the smallest and the
largest that it can be, 0 to 1 (Nichol & Dhariwal 2021, eq. 15), which "ddpm" alone looks at.
"""
Draw = Callable[[Tensor], Tensor]

Sampler = Literal["ddpm", "ddim", "dpm++", "heun"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
CURVATURE = 7.0  # ρ, of Heun's grid


def walk(
    sampler: Sampler, denoise: Denoise, z: Tensor, levels: Tensor, draw: Draw, eta: float = 0.0
) -> Tensor:
    """z: at levels[0]. levels: [S + 1] float64, rising, the last may be ∞. eta: of "ddim" and
    "dpm++", the noise they add.  -> at the last
    """
    if sampler == "ddpm":
        return walk_ddpm(denoise, z, levels, draw)
    if sampler == "ddim":
        return walk_ddim(denoise, z, levels, draw, eta)
    if sampler == "dpm++":
        return walk_dpm(denoise, z, levels, draw, eta)
    return walk_heun(denoise, z, levels)


def posterior(t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q(z_s | z_t, x) = N(a z_t + b x, v), with less noise at s than at t (Ho et al. 2020, eq. 6
    and 7).  -> a, b, v, and the variance of q(z_t | z_s), like t

    1 − α_t²/α_s² σ_s²/σ_t² and its like are written so that nothing cancels: they are small where
    steps are.
    """
    step = s - t
    # α_t²/α_s² · σ_s²/σ_t² = SNR_t / SNR_s = e^{t−s}, and what q(z_t | z_s) adds is 1 − α_t²/α_s².
    gained = -torch.expm1(-step)
    a = torch.exp(-step) * signal(s) / signal(t)
    b = signal(s) * gained
    return a, b, (-s).sigmoid() * gained, (-t).sigmoid() * gained


def step_variance(small: Tensor, large: Tensor, fraction: Tensor | float) -> Tensor:
    """exp(f log β + (1 − f) log β̃) (Nichol & Dhariwal 2021, eq. 15); 0 where β̃ is."""
    return small * (large / small).pow(fraction) if bool((small > 0).all()) else small


def walk_ddpm(denoise: Denoise, z: Tensor, levels: Tensor, draw: Draw) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), over any levels."""
    for t, s in pairwise(levels):
        x, fraction = denoise(z, t)
        a, b, small, large = posterior(t, s)
        z = a.to(z) * z + b.to(z) * x
        if small > 0:
            z = z + step_variance(small.to(z), large.to(z), fraction).sqrt() * draw(z)
    return z


def walk_ddim(denoise: Denoise, z: Tensor, levels: Tensor, draw: Draw, eta: float = 0.0) -> Tensor:
    """z_s = α_s x̂ + √(σ_s² − c²) ε̂ + c ε, c² = η² v of `posterior` (Song, Meng & Ermon 2021,
    arXiv:2010.02502, eq. 12 and 16); nothing is drawn with η = 0.
    """
    for t, s in pairwise(levels):
        x, _ = denoise(z, t)
        epsilon = (z - signal(t).to(z) * x) / noise(t).to(z)
        spent = eta**2 * posterior(t, s)[2]
        kept = ((-s).sigmoid() - spent).clamp(min=0).sqrt()
        z = signal(s).to(z) * x + kept.to(z) * epsilon
        if spent > 0:
            z = z + spent.sqrt().to(z) * draw(z)
    return z


def walk_dpm(denoise: Denoise, z: Tensor, levels: Tensor, draw: Draw, eta: float = 0.0) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2), the first step and the one
    to ∞ of first order. Their λ is half of ours.

    η = 1 is their SDE-DPM-Solver++(2M) (appendix B), of which a step of first order is DDPM's; η
    between loses e^{−2ηh} of the noise there is and draws as much anew, and nothing with η = 0.
    """
    before, last = None, None
    for t, s in pairwise(levels):
        x, _ = denoise(z, t)
        h = (s - t) / 2
        toward = x
        if before is not None and last is not None and s.isfinite():
            ratio = (h / last).to(z)  # 1 / r
            toward = x + ratio / 2 * (x - before)
        lost = eta * h if eta else torch.zeros_like(h)  # h may be ∞
        carry = (noise(s) / noise(t) * torch.exp(-lost)).to(z)
        z = carry * z - (signal(s) * torch.expm1(-h - lost)).to(z) * toward
        spent = noise(s) * (-torch.expm1(-2 * lost)).sqrt()
        if spent > 0:
            z = z + spent.to(z) * draw(z)
        before, last = x, h
    return z


def walk_heun(denoise: Denoise, z: Tensor, levels: Tensor) -> Tensor:
    """Heun's steps of dy/dσ̄ = (y − x̂)/σ̄ with y = z/α and σ̄ = σ/α (Karras et al. 2022,
    arXiv:2206.00364, algorithm 1 without churn): two evaluations a step, one in that to ∞.
    """
    for t, s in pairwise(levels):
        spread_t, spread_s = (-t / 2).exp(), (-s / 2).exp()
        x, _ = denoise(z, t)
        y = z / signal(t).to(z)
        slope = (y - x) / spread_t.to(z)
        step = (spread_s - spread_t).to(z)
        moved = y + step * slope
        if s.isfinite():
            again, _ = denoise(signal(s).to(z) * moved, s)
            slope = (slope + (moved - again) / spread_s.to(z)) / 2
            moved = y + step * slope
        z = signal(s).to(z) * moved
    return z


def choose_levels(
    sampler: Sampler, chain: Tensor | None, ends: tuple[float, float], steps: int
) -> Tensor:
    """Where a sampler of so many steps stops: rising log-SNRs, ∞ the last.  [steps + 1] float64

    Of a chain (λ of its steps 1 … T, falling) every (T / steps)-th, the noisiest among them (Lin
    et al. 2024, arXiv:2305.08891, table 2, "trailing"). DPM-Solver++ even in λ, as its authors
    have it, and Heun even in σ̄^{1/ρ} (Karras et al., eq. 5), both between the ends.
    """
    noisiest, cleanest = ends
    place = torch.linspace(0, 1, steps, dtype=torch.float64)
    if sampler == "heun":
        high, low = (-noisiest / 2 / CURVATURE), (-cleanest / 2 / CURVATURE)
        high, low = torch.tensor([high, low], dtype=torch.float64).exp()
        levels = -2 * CURVATURE * (high + (low - high) * place).log()
    elif sampler == "dpm++" or chain is None:
        levels = noisiest + (cleanest - noisiest) * place
    else:
        T = len(chain)
        index = T - torch.arange(steps, dtype=torch.float64) * (T / steps)
        levels = chain[index.round().long() - 1]
    return torch.cat([levels, torch.tensor([torch.inf], dtype=torch.float64)])
