"""The norms between the parts of a transformer: RMSNorm, of two kinds, and LayerNorm."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["rms", "rms_from_one", "layer"]


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """x / √(mean x² + ε) · g.  [..., D], [D] -> [..., D]"""
    whole = x.dtype in (torch.float32, torch.float64)
    if gain.requires_grad or not whole or torch.compiler.is_compiling():
        return F.rms_norm(x, gain.shape, gain, eps)
    normalised: Any = _FrozenNorm.apply(x, gain, eps)
    return normalised


class _FrozenNorm(torch.autograd.Function):
    """The same bits, of a gain that does not learn: x is kept for the backward pass, and nothing
    else as large; PyTorch's own on a CPU keeps what is normalised beside it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        inverse = _invert_size(x, eps)
        ctx.save_for_backward(x, gain, inverse)
        return (x * inverse).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """With s = 1/√(mean x² + ε) and u = g ⊙ ∂/∂y: ∂/∂x = s·u − s³·x·mean(x ⊙ u)."""
        x, gain, inverse = ctx.saved_tensors
        u = gradients[0] * gain
        along = torch.linalg.vecdot(x, u)[..., None].mul_(inverse.pow(3) / -x.shape[-1])
        return u.mul_(inverse).addcmul_(x, along), None, None


def _invert_size(x: Tensor, eps: float) -> Tensor:
    """1/√(mean x² + ε), as PyTorch computes it.  [..., D] -> [..., 1]"""
    return x.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()


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
        return rms_norm(x, self.weight.to(x.dtype), self.eps)


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
        return rms_norm(x.to(gain.dtype), gain, self.eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """(x − mean) / sqrt(variance + ε) · g + b (Ba et al. 2016, eq. 4)."""

    def gain(self) -> Tensor:
        """What the normalised values are multiplied by."""
        return self.weight


_NORMS: dict[str, Any] = {"rms": RMSNorm, "rms_from_one": RMSNormFromOne, "layer": LayerNorm}


def make_norm(kind: NormKind, width: int, eps: float) -> Any:
    """A norm over the last axis of this width."""
    return _NORMS[kind](width, eps=eps)
