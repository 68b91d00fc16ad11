"""The norms between the parts of a transformer: RMSNorm, of two kinds, and LayerNorm."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["rms", "rms_from_one", "layer"]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · g (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def gain(self) -> Tensor:
        """What the normalised values are multiplied by."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class RMSNormFromOne(RMSNorm):
    """x / sqrt(mean(x²) + ε) · (1 + w): weight decay draws the gain towards 1 (Gemma Team 2024)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps)
        nn.init.zeros_(self.weight)

    def gain(self) -> Tensor:
        return 1 + self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        # The gain in float32: in bfloat16 numbers around 1 are 0.008 apart.
        gain = self.gain()
        return F.rms_norm(x.to(gain.dtype), (x.shape[-1],), gain, self.eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """(x − mean) / sqrt(variance + ε) · g + b (Ba et al. 2016, eq. 4)."""

    def gain(self) -> Tensor:
        """What the normalised values are multiplied by."""
        return self.weight


_NORMS: dict[str, Any] = {"rms": RMSNorm, "rms_from_one": RMSNormFromOne, "layer": LayerNorm}


def make_norm(kind: NormKind, width: int, eps: float) -> Any:
    """A norm over the last axis of this width."""
    return _NORMS[kind](width, eps=eps)
