"""The variational bound of a diffusion, term by term (Ho et al. 2020, eq. 5; Kingma et al. 2021,
eq. 11 and 17), in nats:

    −log p(x) ≤ KL(q(z_T | x) ‖ N(0, 1)) + Σ_{t=2}^T KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t))
                + E[−log p(x | z_1)],

over pictures of levels, whose last term is a decoder that sums to 1 over the levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.images.pictures import centre
from fledge.models.images.noise_levels import noise, signal, spread
from fledge.models.images.samplers import posterior, step_variance


def prior_nats(x: Tensor, noisiest: Tensor) -> Tensor:
    """KL(q(z_T | x) ‖ N(0, 1)). x: [B, …]. noisiest: λ_T, [].  -> [B]"""
    kept, gone = noisiest.double().sigmoid(), (-noisiest.double()).sigmoid()
    each = 0.5 * (gone + kept * x.double() ** 2 - 1 - gone.log())
    return each.flatten(1).sum(1)


def step_nats(x: Tensor, guess: Tensor, fraction: Tensor | float, t: Tensor, s: Tensor) -> Tensor:
    """KL(q(z_s | z_t, x) ‖ p(z_s | z_t)) of each number, where p has x̂ = `guess` for x and a
    variance by `fraction`. x: [B, …]. t, s: [B]  -> like x, float64

    With the posterior's own variance (fraction 0) it is ½ (SNR_s − SNR_t) (x − x̂)².
    """
    t, s = spread(t, x), spread(s, x)
    _, b, small, large = posterior(t, s)
    variance = step_variance(small, large, fraction)
    off = (x.double() - guess.double()) ** 2
    ratio = small / variance
    return 0.5 * (b**2 * off / variance + ratio - 1 - ratio.log())


def level_nats(x: Tensor, z: Tensor, log_snr: Tensor, levels: int) -> Tensor:
    """−log p(x | z_1), where p(level | z) ∝ N(z; α level, σ²) (Kingma et al. 2021, eq. 13): what
    an even prior over the levels makes of z. x: [B, C, H, W] uint8. log_snr: λ_1, []  -> [B]
    """
    place = centre(torch.arange(levels, device=z.device), levels).double()
    off = (z.double()[..., None] - signal(log_snr.double()) * place) / noise(log_snr.double())
    chance = (-0.5 * off**2).log_softmax(-1)
    return -chance.gather(-1, x.long()[..., None]).flatten(1).sum(1)


def number_nats(x: Tensor, z: Tensor, log_snr: Tensor) -> Tensor:
    """The same of numbers without levels: −log N(x; z_1 / α, σ² / α²). [B, …] -> [B]"""
    log_snr = log_snr.double()
    off = x.double() - z.double() / signal(log_snr)
    each = 0.5 * (off**2 * log_snr.exp() - log_snr + torch.log(torch.tensor(2 * torch.pi)))
    return each.flatten(1).sum(1)


def draw_steps(levels: Tensor, count: int, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Which steps t of 2 … T stand for all, drawn so that Σ_k weight · KL_t is unbiased: evenly
    apart in log σ_t² with an offset by chance, in proportion to what they would be for numbers of
    which nothing but their variance is known, x̂'s error then being 1 / (1 + SNR).

    levels: λ of 1 … T, [T]. offset: [B], from 0 to 1.  -> [B, K] long, places in `levels`; their
    weights. All of them, weighing 1, where count ≥ T − 1.
    """
    T = len(levels)
    if count >= T - 1:
        places = torch.arange(1, T).expand(len(offset), -1)
        return places, torch.ones(places.shape, dtype=torch.float64)
    log_variance = torch.nn.functional.logsigmoid(-levels.double())
    share = (log_variance[1:] - log_variance[:-1]) / (log_variance[-1] - log_variance[0])
    edges = share.cumsum(0)
    drawn = (torch.arange(count) + offset.double()[:, None]) / count
    places = torch.searchsorted(edges, drawn.contiguous()).clamp(max=T - 2)
    return places + 1, 1 / (count * share[places])


def draw_log_snrs(ends: tuple[float, float], count: int, offset: Tensor) -> tuple[Tensor, Tensor]:
    """The same in continuous time, where the sum is ½ ∫ SNR (x − x̂)² dλ between the ends (Kingma
    et al. 2021, eq. 17): λ by the same shares, and what SNR (x − x̂)² / 2 weighs there.  -> [B, K]
    twice
    """
    softplus = torch.nn.functional.softplus
    low, high = softplus(torch.tensor(ends, dtype=torch.float64))
    y = low + (high - low) * (torch.arange(count) + offset.double()[:, None]) / count
    log_snr = y + torch.log(-torch.expm1(-y))
    return log_snr, (high - low) / (count * log_snr.sigmoid())
