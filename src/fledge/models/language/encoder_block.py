"""One layer of an encoder: attention within each row and an MLP, with norms behind or before."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fledge.models.language.encoder_config import EncoderConfig
from fledge.models.language.hidden_units import ACTIVATIONS
from fledge.models.language.laid_rows import LaidRows
from fledge.models.language.positions import rotate

ACTIVATIONS_OF_ENCODERS = {**ACTIVATIONS, "tanh": torch.tanh}
Turns = tuple[Tensor, Tensor] | None  # cos and sin of each token's position, [N, 1, d]


class EncoderBlock(nn.Module):
    """Norms behind: h ← norm(h + attention(h));  h ← norm(h + mlp(h)). Norms before: h ← h +
    attention(norm(h));  h ← h + mlp(norm(h)).
    """

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__()
        self.config = c = config
        self.window = c.window if c.is_local(layer) else 0
        norm = partial(nn.LayerNorm, c.width, eps=c.norm_eps, bias=c.norm_bias)
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=c.attention_bias)
        self.out = nn.Linear(c.width, c.width, bias=c.attention_bias)
        # The embedding has a norm of its own: a first one before it would be a second.
        self.attention_norm = nn.Identity() if c.norm_first and layer == 0 else norm()
        high = (2 if c.gated else 1) * c.mlp_width
        self.up = nn.Linear(c.width, high, bias=c.mlp_bias)
        self.down = nn.Linear(c.mlp_width, c.width, bias=c.mlp_bias)
        self.mlp_norm = norm()

    def forward(self, h: Tensor, rows: LaidRows, turns: Turns, *, first: bool = False) -> Tensor:
        """[N, D] -> the same, or [B, D] of the `first` token of each row alone, which is all that
        somebody reads of a last block: the others are keys and values to it.
        """
        kept = h[rows.starts] if first else h
        if self.config.norm_first:
            h = kept + self.attend(self.attention_norm(h), rows, turns, first)
            return h + self.mlp(self.mlp_norm(h))
        h = self.attention_norm(kept + self.attend(h, rows, turns, first))
        return self.mlp_norm(h + self.mlp(h))

    def attend(self, x: Tensor, rows: LaidRows, turns: Turns, first: bool) -> Tensor:
        c = self.config
        qkv = self.qkv(x).view(len(x), 3, c.heads, c.head_width)
        if turns is not None:
            turned = rotate(qkv[:, :2].flatten(1, 2), *turns).view(len(x), 2, c.heads, c.head_width)
            qkv = torch.cat([turned, qkv[:, 2:]], 1)
        attend = rows.attend_first if first else rows.attend
        return self.out(attend(qkv, self.window).flatten(1))

    def mlp(self, x: Tensor) -> Tensor:
        activate, first = ACTIVATIONS_OF_ENCODERS[self.config.activation], self.up(x)
        if not self.config.gated:
            return self.down(activate(first))
        gate, up = first.chunk(2, dim=-1)
        return self.down(activate(gate) * up)
