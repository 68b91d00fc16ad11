"""A layer of experts: a router sends each token to the few feed-forward networks it scores highest,
and their answers are weighed.

Shazeer et al. 2017, eq. 1–5; as in Mixtral (Jiang et al. 2024, §2.1) every expert is a SwiGLU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Experts:
    """used: of `number`, by each token. normalised: the weights of those used add up to 1. dense:
    layers that have a plain feed-forward network.
    """

    number: int
    used: int
    width: int
    normalised: bool = True
    dense: tuple[int, ...] = ()


class MixtureOfExperts(nn.Module):
    def __init__(self, width: int, experts: Experts, activate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.experts, self.activate = experts, activate
        n, inner = experts.number, experts.width
        self.router = nn.Linear(width, n, bias=False)
        self.gate_up = nn.Parameter(torch.empty(n, 2 * inner, width))
        self.down = nn.Parameter(torch.empty(n, width, inner))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        flat = x.reshape(-1, x.shape[-1])
        # In float32 whatever the products' precision: which experts are used hangs on small
        # differences.
        scores = self.router(flat)
        chance = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1)
        weight, expert = chance.topk(self.experts.used, dim=-1)  # [N, used]
        if self.experts.normalised:
            weight = weight / weight.sum(-1, keepdim=True)
        y = torch.zeros_like(flat)
        for e in expert.unique().tolist():
            token, place = (expert == e).nonzero(as_tuple=True)
            gate, up = (flat[token] @ self.gate_up[e].T).chunk(2, dim=-1)
            answer = (self.activate(gate) * up) @ self.down[e].T
            y = y.index_add(0, token, (answer * weight[token, place, None]).to(y.dtype))
        return y.view(x.shape)
