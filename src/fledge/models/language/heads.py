"""A number per position on top of a trunk: the critic of PPO, and the reward model, which reads it
at the last real token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fledge.models.language.transformer import Transformer


class ScalarHead(nn.Module):
    """A linear map to one number. It starts at zero, so that a fresh critic predicts 0 and a fresh
    reward model prefers nothing.

    A reward model has no bias: a constant cancels in every comparison.
    """

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1, bias=bias)
        nn.init.zeros_(self.linear.weight)
        if bias:
            nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [...] in float32 or better."""
        # Where logits have a bias, as BART's may, hidden states end in a 1 that is its factor.
        hidden = hidden[..., : self.linear.in_features]
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        with torch.autocast(hidden.device.type, enabled=False):
            return self.linear(hidden).squeeze(-1)


class ScalarModel(nn.Module):
    """A transformer of its own with a scalar head: token rows in, one number per position out."""

    def __init__(self, network: Transformer, bias: bool = False) -> None:
        super().__init__()
        self.network = network
        self.head = ScalarHead(network.config.width, bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, T]"""
        return self.head(self.network(tokens, self.network.document_mask(tokens)))

    def score(self, tokens: Tensor, last: Tensor) -> Tensor:
        """The number at each row's last real token.  [B, T], [B] -> [B]"""
        hidden = self.network(tokens, self.network.document_mask(tokens))
        return self.head(hidden[torch.arange(len(tokens), device=tokens.device), last])
