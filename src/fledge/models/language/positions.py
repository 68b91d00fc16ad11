"""Rotary positions: queries and keys are turned by an angle that grows with position, so their
product sees distance only.

Su et al. 2021, "RoFormer", eq. 34; pairs are (i, i + d/2) as in the Llama checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(length: int, head_width: int, theta: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos and sin of m·θ_i, θ_i = theta^(−2i/d), written twice along the last axis; sin carries the
    sign of the turn.

    Two tables [length, head_width] in float32, computed in float64: at position 10⁵ float32 angles
    are off by 0.01.
    """
    frequency = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    # [length, head_width / 2]
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1).float(), torch.cat([-sin, sin], -1).float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x by their position's angle.  x [..., head_width]; cos, sin broadcast
    against it.
    """
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
