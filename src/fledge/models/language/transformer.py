"""The decoder-only transformer: rotary positions, RMSNorm, SwiGLU, grouped-query and sliding-window
attention.

Vaswani et al. 2017 with the changes of Touvron et al. 2023 (Llama); optional normalisation of
queries and keys (Qwen 3). Its weights have the same values and layout as those checkpoints;
query/key/value and gate/up are stored fused, two products for five.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.language.positions import rotary_table, rotate
from fledge.models.language.short_attention import is_faster, short_attention

# Positions whose angles are held from the start; a longer row makes the table longer. A config.json
# may promise millions.
_TABLE = 8192


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes. `width` is divided among `heads`; `kv_heads` of them have keys and values of their own
    (Ainslie et al. 2023).
    """

    vocab_size: int
    context: int = 256  # tokens
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 4
    mlp_width: int = 0  # 0: 8/3 of the width, rounded up to a multiple of 32
    tied: bool = True
    qk_norm: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    head_width: int = field(default=0)  # 0: width / heads
    # a token looks at so many tokens, itself included (Jiang et al. 2023, §2); 0: at all before it
    window: int = 0

    def __post_init__(self) -> None:
        # `transformers` refuses a config.json that writes 1 where 1.0 is meant
        for name in (
            "rope_theta",
            "norm_eps",
        ):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.mlp_width == 0:
            object.__setattr__(self, "mlp_width", 32 * math.ceil(self.width * 8 / 3 / 32))
        if self.head_width == 0:
            if self.width % self.heads:
                raise UserError(
                    f"width={self.width} cannot be divided among heads={self.heads}: choose a "
                    "multiple."
                )
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise UserError(
                f"heads={self.heads} cannot share kv_heads={self.kv_heads}: heads must be a "
                "multiple of it."
            )
        if self.head_width % 2:
            raise UserError(
                f"a head of width {self.head_width} has no pairs to rotate: width / heads must be "
                "even."
            )

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        attention = (2 * self.heads + 2 * self.kv_heads) * self.head_width * self.width
        norms = 2 * self.width + (2 * self.head_width if self.qk_norm else 0)
        embeddings = (1 if self.tied else 2) * self.vocab_size * self.width
        return (
            self.layers * (attention + 3 * self.width * self.mlp_width + norms)
            + self.width
            + embeddings
        )


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · g (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        wide = (config.heads + 2 * config.kv_heads) * config.head_width
        self.qkv = nn.Linear(config.width, wide, bias=False)
        self.out = nn.Linear(config.heads * config.head_width, config.width, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_width, config.norm_eps)
            self.k_norm = RMSNorm(config.head_width, config.norm_eps)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values.  [B, T, D] -> [B, heads, T, d], [B, kv_heads, T, d]
        twice
        """
        c = self.config
        b, t, _ = x.shape
        qkv = self.qkv(x).view(b, t, c.heads + 2 * c.kv_heads, c.head_width)
        qk, v = qkv.split([c.heads + c.kv_heads, c.kv_heads], dim=2)
        if c.qk_norm:
            q, k = qk.split([c.heads, c.kv_heads], dim=2)
            qk = torch.cat([self.q_norm(q), self.k_norm(k)], dim=2)
        qk = rotate(qk, cos, sin).transpose(1, 2)
        q, k = qk.split([c.heads, c.kv_heads], dim=1)
        return q, k, v.transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """mask: None is causal; else bool [B, 1, T, S], True where attention is allowed.  -> [B, T,
        D]
        """
        b, _, t, _ = q.shape
        grouped = self.config.heads != self.config.kv_heads
        if is_faster(q, k):
            if grouped:
                k, v = (
                    x.repeat_interleave(self.config.heads // self.config.kv_heads, dim=1)
                    for x in (k, v)
                )
            y = short_attention(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
            )
        return self.out(y.transpose(1, 2).reshape(b, t, -1))


class Block(nn.Module):
    """h ← h + attention(norm(h));  h ← h + mlp(norm(h)),  mlp(x) = W_down(silu(W_gate x) ⊙ W_up x)
    (Shazeer 2020).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def mlp(self, h: Tensor) -> Tensor:
        gate, up = self.gate_up(self.mlp_norm(h)).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)

    def forward(self, h: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.attention.project(self.attention_norm(h), cos, sin)
        h = h + self.attention.attend(q, k, v, mask)
        return h + self.mlp(h)


class Transformer(nn.Module):
    """Token rows in, hidden states out; `unembedding` turns those into logits (see
    `fledge.log_prob`, which never builds them whole).

    A row may hold several documents: attention never crosses a `border` token, which opens each of
    them.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        config: TransformerConfig,
        border: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.border = border
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks: Any = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        cos, sin = rotary_table(min(config.context, _TABLE), config.head_width, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Normal(0, √(2 / 5·width)) (Nguyen & Salazar 2019, §3.2), and 1/√(2·layers) of that where
        a block writes to the residual stream (Radford et al. 2019, §2.3). The usual 0.02 is that
        value at width 1,000; it starves narrow models.
        """
        wide = math.sqrt(2 / (5 * self.config.width))
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("attention.out.weight", "down.weight"))
                std = wide / math.sqrt(2 * self.config.layers) if residual else wide
                weight.normal_(0.0, std, generator=generator)

    @property
    def unembedding(self) -> Tensor:
        """[V, D]"""
        return self.embedding.weight if self.config.tied else self.head.weight

    def _rotary(
        self, positions: slice | Tensor, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        return self.cos[positions].to(dtype).unsqueeze(-2), self.sin[positions].to(dtype).unsqueeze(
            -2
        )

    def reach_position(self, length: int) -> None:
        """The table of angles holds so many positions. Raises UserError for more than the
        context.
        """
        if length > self.config.context:
            raise UserError(
                f"a row of {length} tokens was given to a model with context "
                f"{self.config.context}: shorten the row."
            )

        if length > len(self.cos):
            longer = min(self.config.context, 2 * length)
            cos, sin = rotary_table(longer, self.config.head_width, self.config.rope_theta)
            self.cos, self.sin = cos.to(self.cos), sin.to(self.sin)

    def document_mask(self, tokens: Tensor) -> Tensor | None:
        """None where every row is one document; else bool [B, 1, T, T], True where a token may
        look.
        """
        if self.border is None or not bool((tokens[:, 1:] == self.border).any()):
            return None
        document = (tokens == self.border).cumsum(1)  # [B, T]
        return (self._reach(tokens) & (document[:, :, None] == document[:, None, :])).unsqueeze(1)

    def _reach(self, tokens: Tensor) -> Tensor:
        """How far a token looks back.  -> bool [T, T]"""
        t = tokens.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool, device=tokens.device).tril()
        return causal.triu(1 - self.config.window) if self.config.window else causal

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states after the last norm.  [B, T] -> [B, T, D];  mask from `document_mask`, None
        is one document a row.
        """
        self.reach_position(tokens.shape[1])
        if mask is None and 0 < self.config.window < tokens.shape[1]:
            mask = self._reach(tokens)[None, None]
        h = self.embedding(tokens)
        cos, sin = self._rotary(slice(0, tokens.shape[1]), h.dtype, h.device)
        for block in self.blocks:
            h = block(h, cos, sin, mask)
        return self.norm(h)
