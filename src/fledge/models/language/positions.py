"""Rotary positions: queries and keys are turned by an angle that grows with position, so their
product sees distance only.

Su et al. 2021, "RoFormer", eq. 34; pairs are (i, i + d/2) as in the Llama checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fledge.models.language.rope_scaling import UNSCALED, RopeScaling, scale_frequencies

# Positions whose angles are held from the start; a longer row makes the table longer. A config.json
# may promise millions.
_TABLE = 8192


def rotary_table(
    length: int,
    width: int,
    theta: float = 10_000.0,
    scaling: RopeScaling = UNSCALED,
    *,
    long: bool = False,
) -> tuple[Tensor, Tensor]:
    """cos and sin of m·θ_i, θ_i = theta^(−2i/d), written twice along the last axis; sin carries the
    sign of the turn.

    Two tables [length, width] in float32, computed in float64: at position 10⁵ float32 angles are
    off by 0.01. long: for rows longer than `scaling.original`.
    """
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    frequency = scale_frequencies(frequency, theta, scaling, long)
    # [length, width / 2]
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    if scaling.attention_factor != 1.0:
        cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
    return torch.cat([cos, cos], -1).float(), torch.cat([-sin, sin], -1).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x by their position's angle.  x [..., head_width]; cos, sin [..., d]
    broadcast against it. Where d < head_width, what comes after the first d stays.
    """
    d = cos.shape[-1]
    if d < x.shape[-1]:
        return torch.cat([rotate(x[..., :d], cos, sin), x[..., d:]], -1)
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


class Rotary(nn.Module):
    """A table of angles that grows with the rows it is asked for. It is no part of the weights."""

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        context: int,
        width: int,
        theta: float,
        scaling: RopeScaling = UNSCALED,
        *,
        long: bool = False,
    ) -> None:
        super().__init__()
        self.context, self.width, self.theta = context, width, theta
        self.scaling, self.long = scaling, long
        cos, sin = self._make(min(context, _TABLE))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _make(self, length: int) -> tuple[Tensor, Tensor]:
        # On the CPU also where modules are made on the meta device, to be filled later.
        with torch.device("cpu"):
            return rotary_table(length, self.width, self.theta, self.scaling, long=self.long)

    def reach(self, length: int) -> None:
        """Hold the angles of so many positions."""
        if length > len(self.cos):
            cos, sin = self._make(min(self.context, 2 * length))
            self.cos, self.sin = cos.to(self.cos), sin.to(self.sin)

    def forward(
        self, positions: slice | Tensor, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """[T] -> [T, 1, width] twice"""
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        cos, sin = self.cos[positions], self.sin[positions]
        return cos.to(dtype).unsqueeze(-2), sin.to(dtype).unsqueeze(-2)
