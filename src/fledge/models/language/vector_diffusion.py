"""Diffusion of vectors: z_t = α_t x + σ_t ε, α² + σ² = 1, with log(α²/σ²) falling evenly in t from
0 to 1, so that the plain error of ε is a bound in nats (Kingma et al. 2021, arXiv:2107.00630).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.language.sentence_coder import widen

LEAST_SIGNAL = 0.05  # α where t = 1: what is left of x there has 0.001 nats a unit
FREQUENCIES = 16  # of t, as the network reads it


class VectorDiffusion(nn.Module):
    """latents: Z. least_noise: σ where t = 0."""

    def __init__(self, latents: int, width: int, layers: int, least_noise: float) -> None:
        super().__init__()
        self.latents = latents
        self.begin = math.log(1 / least_noise**2 - 1)  # log(α²/σ²) where t = 0
        self.end = -math.log(1 / LEAST_SIGNAL**2 - 1)
        self.enter = nn.Linear(latents, width)
        self.time = nn.Linear(2 * FREQUENCIES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(layers)
        )  # fmt: skip
        self.leave = nn.Linear(width, latents)
        nn.init.zeros_(self.leave.weight)  # so that it begins as the best for N(0, 1)
        nn.init.zeros_(self.leave.bias)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ.  [B] -> [B, 1] twice"""
        log_ratio = (self.begin + (self.end - self.begin) * t)[:, None]
        return torch.sigmoid(log_ratio).sqrt(), torch.sigmoid(-log_ratio).sqrt()

    def find_noise(self, z: Tensor, t: Tensor) -> Tensor:
        """ε̂ of z_t, by v̂ = α ε̂ − σ x̂ (Salimans & Ho 2022), so that at both ends the network has
        something to say.  [B, Z], [B] -> [B, Z]
        """
        alpha, sigma = self.scales(t)
        h = self.enter(z) + self.time(self._spread(t))
        for block in self.blocks:
            h = h + block(h)
        return sigma * z + alpha * widen(self.leave(F.silu(h)))

    def _spread(self, t: Tensor) -> Tensor:
        """Sines and cosines of t.  [B] -> [B, 2F]"""
        angle = t[:, None] * torch.logspace(0, 2, FREQUENCIES, device=t.device, dtype=t.dtype)
        return torch.cat([angle.sin(), angle.cos()], 1)

    def nats(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Whose mean over ε and t is not less than KL(q(z₀ | x) ‖ p(z₀)), in the limit of many
        steps (Kingma et al. 2021, eq. 15): the last step's KL, and ½ (λ₀ − λ₁) ‖ε − ε̂‖².

        x, noise: [B, Z]. t: [B], evenly from 0 to 1.  -> [B]
        """
        alpha, sigma = self.scales(t)
        error = (noise - self.find_noise(alpha * x + sigma * noise, t)).square().sum(1)
        return self.nats_at_end(x) + 0.5 * (self.begin - self.end) * error

    def nats_at_end(self, x: Tensor) -> Tensor:
        """KL(q(z₁ | x) ‖ N(0, 1)).  [B, Z] -> [B]"""
        alpha, sigma = self.scales(torch.ones(len(x), device=x.device, dtype=x.dtype))
        return (0.5 * ((alpha * x) ** 2 + sigma**2 - 1) - sigma.log()).sum(1)

    @torch.no_grad()
    def descend(self, z: Tensor, steps: int, start: float = 1.0) -> Tensor:
        """From z_t of t = start to z₀ by DDIM without noise (Song, Meng & Ermon 2021,
        arXiv:2010.02502, eq. 12).  [B, Z] -> [B, Z]
        """
        times = torch.linspace(start, 0, steps + 1, device=z.device, dtype=z.dtype).tolist()
        for now, then in pairwise(times):
            t = torch.full((len(z),), now, device=z.device, dtype=z.dtype)
            noise = self.find_noise(z, t)
            alpha, sigma = self.scales(t)
            next_alpha, next_sigma = self.scales(torch.full_like(t, then))
            z = next_alpha * (z - sigma * noise) / alpha + next_sigma * noise
        return z
