"""h_t = a_t ⊙ h_{t−1} + b_t for all t at once: the one thing that a linear recurrence computes.

Two steps are one step: (a₂, b₂) ∘ (a₁, b₁) = (a₂a₁, a₂b₁ + b₂). So after log₂ T rounds, each of
which joins every step with the one 2^k before it, every step reaches back to the first (Hillis &
Steele 1986, "Data parallel algorithms"). Where 0 ≤ a ≤ 1 nothing in it grows, and a = 0 is exact:
sums of logarithms would need neither T multiplications nor survive a zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def recur(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """h_t = a_t ⊙ h_{t−1} + b_t, differentiable.  [B, T, D] each -> [B, T, D]

    start: h_{−1}, zero if it is not given.  [B, D]
    """
    if start is not None:
        b = torch.cat([b[:, :1] + a[:, :1] * start[:, None], b[:, 1:]], 1)
    return _Recurrence.apply(a, b)


class _Recurrence(torch.autograd.Function):
    """Keeps a and h alone. With g_t = ∂L/∂h_t taken directly, ∂L/∂b_t = g_t + a_{t+1} ∂L/∂b_{t+1}
    is the same recurrence backwards, and ∂L/∂a_t = ∂L/∂b_t ⊙ h_{t−1}.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = _scan(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        none = torch.zeros_like(a[:, :1])
        after = torch.cat([a[:, 1:], none], 1)
        on_b = _scan(after.flip(1), grads[0].flip(1)).flip(1)
        return on_b * torch.cat([none, h[:, :-1]], 1), on_b


def _scan(a: Tensor, b: Tensor) -> Tensor:
    reach = 1
    while reach < a.shape[1]:
        b = torch.cat([b[:, :reach], b[:, reach:] + a[:, reach:] * b[:, :-reach]], 1)
        a = torch.cat([a[:, :reach], a[:, reach:] * a[:, :-reach]], 1)
        reach *= 2
    return b
