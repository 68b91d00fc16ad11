"""A variational autoencoder of pictures (Kingma & Welling 2014, arXiv:1312.6114): a code z of few
numbers, and p(x) = ∫ p(z) p(x | z) dz, of which log p(x) ≥ E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fledge.images.pictures import Pictures, PictureShape, centre
from fledge.models.images.convolutions import count_halvings, stack_down, stack_up
from fledge.models.images.likelihoods import (
    count_outputs,
    draw_levels,
    fit_alone,
    log_prob_of_levels,
    middle_levels,
)
from fledge.models.images.picture_model import PictureModel
from fledge.models.normal_codes import kl_to_standard


class VAE(PictureModel):
    """settings: latents, network (mlp or conv), width (of the hidden layers), layers, draws (for
    each picture that is judged).
    """

    name = "vae"
    measure = "bound"  # tighter the more draws a picture has (Burda et al. 2016)

    def __init__(self, shape: PictureShape, settings: Mapping[str, Any]) -> None:
        super().__init__(shape, settings)
        width, layers = self.settings["width"], self.settings["layers"]
        self.latents, self.draws = self.settings["latents"], self.settings["draws"]
        outputs = count_outputs(shape.levels)
        if self.settings["network"] == "conv":
            channels, halvings = channels_of(width), count_halvings(shape)
            small = (channels, shape.height >> halvings, shape.width >> halvings)
            numbers = math.prod(small)
            self.encoder = nn.Sequential(
                stack_down(shape.channels, channels, halvings, layers), nn.Flatten()
            )
            self.to_posterior = nn.Linear(numbers, 2 * self.latents)
            self.decoder = nn.Sequential(nn.Linear(self.latents, numbers), nn.Unflatten(1, small))
            self.to_picture: nn.Module = stack_up(
                channels, outputs * shape.channels, halvings, layers
            )
        else:
            self.encoder = nn.Sequential(nn.Flatten(), *stack_layers(shape.numbers, width, layers))
            self.to_posterior = nn.Linear(width, 2 * self.latents)
            self.decoder = stack_layers(self.latents, width, layers)
            self.to_picture = nn.Linear(width, outputs * shape.numbers)
        C, H, W = shape.size
        self.place = nn.Parameter(torch.zeros(outputs * C, H, W))

    @torch.no_grad()
    def begin_at_counts(self, x: Tensor) -> None:
        """What each place shows by itself is counted, and need not be learned: 1,000 steps on 28 ×
        28 pictures come as far as 1,400 from nothing.  x: [N, C, H, W] uint8, learned from
        """
        self.place.copy_(fit_alone(x, self.shape.levels))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of q(z | x).  [B, C, H, W] uint8 -> [B, Z] twice"""
        hidden = self.encoder(centre(x, self.shape.levels))
        mean, log_deviation = self.to_posterior(hidden).float().chunk(2, 1)
        return mean, log_deviation.clamp(-8, 8)

    def decode(self, z: Tensor) -> Tensor:
        """What p(x | z) is made of.  [B, Z] -> [B, K·C, H, W]"""
        _, H, W = self.shape.size
        return self.to_picture(self.decoder(z)).view(len(z), -1, H, W) + self.place

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z).  -> [B]"""
        return log_prob_of_levels(x, self.decode(z), self.shape.levels).flatten(1).sum(1)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a loss is made of: as `log_weights`, and KL(q(z | x) ‖ p(z)) of each latent. Of one
        code the log ratio is told as it is on average, −KL: no bound looks at that of the draw.
        [B, C, H, W], [B, K, Z] -> [B, K] twice, [B, Z]
        """
        mean, log_deviation = self.encode(x)
        kl = kl_to_standard(mean, log_deviation)
        if noise.shape[1] == 1:
            z = mean + log_deviation.exp() * noise[:, 0]
            return self.log_likelihood(x, z)[:, None], -kl.sum(1, keepdim=True), kl
        return *self.log_weights(x, mean, log_deviation, noise), kl

    def log_weights(
        self, x: Tensor, mean: Tensor, log_deviation: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log p(x | z_k) and log p(z_k) − log q(z_k | x) at z_k = μ + σ ε_k.  x: [B, C, H, W],
        noise: [B, K, Z] -> [B, K] twice
        """
        B, K, Z = noise.shape
        z = mean[:, None] + log_deviation.exp()[:, None] * noise
        log_ratio = (0.5 * (noise**2 - z**2) + log_deviation[:, None]).sum(2)
        rows = x if K == 1 else x.repeat_interleave(K, 0)
        return self.log_likelihood(rows, z.view(B * K, Z)).view(B, K), log_ratio

    def nats(self, rows: Pictures, generator: torch.Generator) -> Tensor:
        """−log (1/K) Σ_k p(x, z_k) / q(z_k | x), z_k ∼ q: its expectation is not less than −log
        p(x) (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, eq. 8).
        """
        mean, log_deviation = self.encode(rows.x)
        weights: list[Tensor] = []
        for _ in range(self.draws):
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
            said = self.log_weights(rows.x, mean, log_deviation, noise[:, None])
            weights.append(said[0][:, 0] + said[1][:, 0])
        return math.log(self.draws) - torch.stack(weights).logsumexp(0)

    def sample(self, count: int, generator: torch.Generator, label: Tensor | None = None) -> Tensor:
        z = torch.randn(count, self.latents, generator=generator)
        return draw_levels(self.decode(z), self.shape.levels, generator)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Through the middle of q(z | x), with nothing drawn; of `show_levels` levels."""
        return self.show(self.encode(x)[0])

    def show(self, z: Tensor) -> Tensor:
        """The middle of p(x | z); of `show_levels` levels.  [B, Z] -> [B, C, H, W] uint8"""
        return middle_levels(self.decode(z), self.shape.levels)


def stack_layers(inputs: int, width: int, layers: int) -> nn.Sequential:
    sizes = [inputs] + [width] * layers
    pairs = pairwise(sizes)
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Linear(a, b), nn.SiLU())))


def channels_of(width: int) -> int:
    """Of a convolution that takes the place of hidden layers so wide."""
    return max(4, width // 8)
