"""What an MLP makes of its first product before its second: an activation of it, or of one half
that gates the other; and its derivative, for whoever makes it again in the backward pass.

silu: Elfwing et al. 2018; gelu: Hendrycks & Gimpel 2016; gates: Shazeer 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}
# (∂/∂a(x), x) -> ∂/∂x, as autograd has them
_DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "silu": torch.ops.aten.silu_backward,
    "gelu": torch.ops.aten.gelu_backward,
    "gelu_tanh": partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    "relu": partial(torch.ops.aten.threshold_backward, threshold=0),
}


@dataclass(frozen=True)
class HiddenUnits:
    """a(x) with x [..., M]; gated: a(g) ⊙ u with [g, u] = x [..., 2 M].  -> [..., M]"""

    activation: str
    gated: bool

    def __call__(self, x: Tensor) -> Tensor:
        if not self.gated:
            return ACTIVATIONS[self.activation](x)
        gate, up = x.chunk(2, dim=-1)
        return ACTIVATIONS[self.activation](gate) * up

    def pull_back(self, x: Tensor, slope: Tensor) -> Tensor:
        """∂/∂x, of ∂/∂h with h what is made of x.  x, [..., M] -> as x"""
        derivative = _DERIVATIVES[self.activation]
        if not self.gated:
            return derivative(slope, x)
        gate, up = x.chunk(2, dim=-1)
        of_gate = derivative(slope * up, gate)
        return torch.cat([of_gate, slope * ACTIVATIONS[self.activation](gate)], dim=-1)
