"""A variational autoencoder of sentences (Bowman et al. 2016, arXiv:1511.06349): a sentence is said
out of a vector z of N(0, 1), and log p(x) ≥ E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fledge.models.language.sentence_coder import widen
from fledge.models.language.sentence_model import SentenceModel
from fledge.text.sentences import SentenceRows
from fledge.text.tokenizer import Tokenizer


class TextVAE(SentenceModel):
    """settings: those of the coder, and draws (for each sentence that is judged)."""

    name = "text_vae"

    def __init__(self, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
        super().__init__(tokenizer, settings)
        self.to_posterior = nn.Linear(self.settings["width"], 2 * self.latents)

    def posterior(self, rows: SentenceRows) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of q(z | x).  -> [B, Z] twice"""
        mean, log_deviation = widen(self.to_posterior(self.coder.read(rows))).chunk(2, 1)
        return mean, log_deviation.clamp(-8, 8)

    def encode(self, rows: SentenceRows) -> Tensor:
        return self.posterior(rows)[0]

    def nats(self, rows: SentenceRows, generator: torch.Generator) -> Tensor:
        """−log (1/K) Σ_k p(x, z_k) / q(z_k | x), z_k ∼ q (Burda, Grosse & Salakhutdinov 2016,
        arXiv:1509.00519, eq. 8).
        """
        return math.log(self.settings["draws"]) - self.log_weights(rows, generator).logsumexp(1)

    def log_weights(self, rows: SentenceRows, generator: torch.Generator) -> Tensor:
        """log p(x, z_k) − log q(z_k | x) of K draws: their mean is at most the log of the mean of
        their exponentials, and both at most log p(x) in expectation.  -> [B, K]
        """
        mean, log_deviation = self.posterior(rows)
        weights: list[Tensor] = []
        for _ in range(self.settings["draws"]):
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            z = mean + log_deviation.exp() * noise
            log_ratio = (0.5 * (noise**2 - z**2) + log_deviation).sum(1)  # log p(z) − log q(z | x)
            weights.append(self.coder.log_likelihood(rows, z) + log_ratio)
        return torch.stack(weights, 1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, self.latents, generator=generator).to(self.to_posterior.weight)

    def vary(self, z: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """√(1 − n²) z + n ε, which leaves N(0, 1) what it is."""
        drawn = torch.randn(z.shape, generator=generator).to(z)
        return math.sqrt(1 - noise**2) * z + noise * drawn
