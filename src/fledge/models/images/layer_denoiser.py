"""A denoiser of fully connected layers: for single numbers, points, codes and tiny pictures."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.images.time_embedding import TimeEmbedding


class LayerDenoiser(nn.Module):
    """numbers: of a picture, C·H·W; outputs: of them so many for each. As a U-Net's it is told the
    noise and the label, which scale and move every layer.
    """

    def __init__(
        self, numbers: int, outputs: int, *, width: int, layers: int, labels: int = 0
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.embed = TimeEmbedding(width, labels)
        self.enter = nn.Linear(numbers, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs * numbers)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """z: [B, C, H, W]. log_snr: [B].  -> [B, K·C, H, W]"""
        time = self.embed(log_snr, label)
        hidden = self.enter(z.flatten(1))
        for layer in self.layers:
            hidden = layer(hidden, time)
        B, C, H, W = z.shape
        return self.leave(F.silu(self.norm(hidden))).view(B, self.outputs * C, H, W)


class Layer(nn.Module):
    """Beside a way around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.told = nn.Linear(width, 2 * width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.told(time).chunk(2, 1)
        hidden = self.first(self.norm(x) * (1 + scale) + shift)
        return x + self.second(F.silu(hidden))
