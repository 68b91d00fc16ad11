"""A sentence to a vector and back, with a diffusion as the vector's prior, all trained together as
in EDDPM (Liu et al. 2024, arXiv:2402.19009): −log p(x) ≤ E[−log p(x | z₀)] + KL(q(z₀ | x) ‖ p(z₀)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.language.sentence_coder import widen
from fledge.models.language.sentence_model import SentenceModel
from fledge.models.language.vector_diffusion import VectorDiffusion
from fledge.text.sentences import SentenceRows
from fledge.text.tokenizer import Tokenizer


class TextDiffusion(SentenceModel):
    """settings: those of the coder, and denoiser_width, denoiser_layers, least_noise,
    sampling_steps, draws.

    Vectors are scaled to a mean square of 1, each by itself: a diffusion loss alone would shrink
    them to nothing, and a reconstruction loss alone blow them up until noise says nothing.
    """

    name = "text_diffusion"

    def __init__(self, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
        super().__init__(tokenizer, settings)
        own = self.settings
        self.to_vector = nn.Linear(own["width"], self.latents)
        self.prior = VectorDiffusion(
            self.latents, own["denoiser_width"], own["denoiser_layers"], own["least_noise"]
        )

    def encode(self, rows: SentenceRows) -> Tensor:
        return self.settle(widen(self.to_vector(self.coder.read(rows))))

    def settle(self, z: Tensor) -> Tensor:
        return F.rms_norm(z, (self.latents,))

    def cover(self, x: Tensor, noise: Tensor) -> Tensor:
        """z₀, which the writer reads: the vector with the least noise.  [B, Z] twice -> [B, Z]"""
        alpha, sigma = self.prior.scales(torch.zeros(len(x), device=x.device, dtype=x.dtype))
        return alpha * x + sigma * noise

    def say(
        self, z: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> list[str]:
        """The writer knows vectors as they are where t = 0."""
        return super().say(self.cover(z, torch.zeros_like(z)), temperature, generator)

    def nats(self, rows: SentenceRows, generator: torch.Generator) -> Tensor:
        """The mean over draws of the noise and of t, which are spread evenly.  -> [B]"""
        x, draws = self.encode(rows), self.settings["draws"]
        total = torch.zeros_like(x[:, 0])
        offset = torch.rand(len(x), generator=generator).to(x)
        for number in range(draws):
            first, noise = (torch.randn(x.shape, generator=generator).to(x) for _ in range(2))
            t = (offset + number / draws) % 1
            spoken = self.coder.log_likelihood(rows, self.cover(x, first))
            total += self.prior.nats(x, noise, t) - spoken
        return total / draws

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(count, self.latents, generator=generator).to(self.to_vector.weight)
        return self._uncover(self.prior.descend(z, self.settings["sampling_steps"]))

    def vary(self, z: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """To z_t of t = noise, and back by the diffusion."""
        if noise == 0:
            return z
        t = torch.full((len(z),), noise, device=z.device, dtype=z.dtype)
        alpha, sigma = self.prior.scales(t)
        z = alpha * z + sigma * torch.randn(z.shape, generator=generator).to(z)
        steps = max(1, round(noise * self.settings["sampling_steps"]))
        return self._uncover(self.prior.descend(z, steps, noise))

    def _uncover(self, z: Tensor) -> Tensor:
        """The vector of z₀, whose noise is next to nothing."""
        alpha, _ = self.prior.scales(torch.zeros(len(z), device=z.device, dtype=z.dtype))
        return z / alpha
