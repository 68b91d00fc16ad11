"""The decoder-only transformer: rotary positions, RMSNorm, SwiGLU, grouped-query attention, and a key–value cache.

Vaswani et al. 2017 with the changes of Touvron et al. 2023 (Llama); optional normalisation of queries and keys (Qwen 3). Its
weights have the same values and layout as those checkpoints; query/key/value and gate/up are stored fused, two products for five.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.models.positions import rotary_table, rotate
from fledge.models.short_attention import short_attention, suits


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes. `width` is divided among `heads`; `kv_heads` of them have keys and values of their own (Ainslie et al. 2023)."""

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

    def __post_init__(self) -> None:
        if self.mlp_width == 0:
            object.__setattr__(self, "mlp_width", 32 * math.ceil(self.width * 8 / 3 / 32))
        if self.head_width == 0:
            if self.width % self.heads:
                raise UserError(f"width={self.width} cannot be divided among heads={self.heads}: choose a multiple.")
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise UserError(
                f"heads={self.heads} cannot share kv_heads={self.kv_heads}: heads must be a multiple of it."
            )
        if self.head_width % 2:
            raise UserError(f"a head of width {self.head_width} has no pairs to rotate: width / heads must be even.")

    @property
    def parameters(self) -> int:
        """How many numbers a network of these sizes learns."""
        attention = (2 * self.heads + 2 * self.kv_heads) * self.head_width * self.width
        norms = 2 * self.width + (2 * self.head_width if self.qk_norm else 0)
        embeddings = (1 if self.tied else 2) * self.vocab_size * self.width
        return self.layers * (attention + 3 * self.width * self.mlp_width + norms) + self.width + embeddings


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · g (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Cache:
    """Keys and values of every layer for a fixed number of rows and positions, taken once.  [layers, 2, rows, kv_heads, S·d]

    Keys lie as [S, d] and values as [d, S]: one query's products with either then read memory straight through, which takes
    two thirds of the time of fused attention over a cache larger than a CPU's own.
    """

    def __init__(self, config: TransformerConfig, rows: int, positions: int, like: Tensor) -> None:
        self.heads, self.positions, self.width = config.kv_heads, positions, config.head_width
        self.store = like.new_zeros(config.layers, 2, rows, self.heads, positions * self.width)

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of each layer's keys [rows, kv_heads, S, d] and values [rows, kv_heads, d, S]."""
        for keys, values in self.store:
            yield (
                keys.view(-1, self.heads, self.positions, self.width),
                values.view(-1, self.heads, self.width, self.positions),
            )

    def move(self, source: int, target: int) -> None:
        """Row `source` takes the lane of row `target`."""
        self.store[:, :, target] = self.store[:, :, source]

    def repeat(self, times: int) -> None:
        """Every row `times` times, side by side: a prompt that is read once and continued in several ways."""
        self.store = self.store.repeat_interleave(times, dim=2)


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
        """Rotated queries and keys, and values.  [B, T, D] -> [B, heads, T, d], [B, kv_heads, T, d] twice"""
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
        """mask: None is causal; else bool [B, 1, T, S], True where attention is allowed.  -> [B, T, D]"""
        b, _, t, _ = q.shape
        grouped = self.config.heads != self.config.kv_heads
        if suits(q, k):
            if grouped:
                k, v = (x.repeat_interleave(self.config.heads // self.config.kv_heads, dim=1) for x in (k, v))
            y = short_attention(q, k, v, mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))

    def look_back(self, q: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """One query per row on a cache's keys [B, kv_heads, S, d] and values [B, kv_heads, d, S]; bias [B, 1, 1, S]: 0 or −∞.

        [B, heads, 1, d] -> [B, 1, D]
        """
        c = self.config
        q = q.reshape(q.shape[0], c.kv_heads, -1, c.head_width)  # the heads that share keys side by side
        q = q * c.head_width**-0.5
        scores = (keys @ q.transpose(-1, -2)).transpose(-1, -2) + bias  # [B, kv_heads, heads / kv_heads, S]
        y = values @ scores.softmax(-1).transpose(-1, -2)  # [B, kv_heads, d, heads / kv_heads]
        return self.out(y.transpose(-1, -2).reshape(q.shape[0], 1, -1))


class Block(nn.Module):
    """h ← h + attention(norm(h));  h ← h + mlp(norm(h)),  mlp(x) = W_down(silu(W_gate x) ⊙ W_up x) (Shazeer 2020)."""

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
    """Token rows in, hidden states out; `unembedding` turns those into logits (see `fledge.decoding`, which never builds them whole).

    A row may hold several documents: attention never crosses a `border` token, which opens each of them.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, config: TransformerConfig, border: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.border = border
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks: Any = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        cos, sin = rotary_table(config.context, config.head_width, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Normal(0, √(2 / 5·width)) (Nguyen & Salazar 2019, §3.2), and 1/√(2·layers) of that where a block writes to the
        residual stream (Radford et al. 2019, §2.3). The usual 0.02 is that value at width 1,000; it starves narrow models.
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

    def _rotary(self, positions: slice | Tensor, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        return self.cos[positions].to(dtype).unsqueeze(-2), self.sin[positions].to(dtype).unsqueeze(-2)

    def _check(self, length: int) -> None:
        if length > self.config.context:
            raise UserError(
                f"a row of {length} tokens was given to a model with context {self.config.context}: shorten the row."
            )

    def document_mask(self, tokens: Tensor) -> Tensor | None:
        """None where every row is one document; else bool [B, 1, T, T], True where a token may look."""
        if self.border is None or not bool((tokens[:, 1:] == self.border).any()):
            return None
        document = (tokens == self.border).cumsum(1)  # [B, T]
        causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
        return (causal & (document[:, :, None] == document[:, None, :])).unsqueeze(1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states after the last norm.  [B, T] -> [B, T, D];  mask from `document_mask`, None is plain causal."""
        self._check(tokens.shape[1])
        h = self.embedding(tokens)
        cos, sin = self._rotary(slice(0, tokens.shape[1]), h.dtype, h.device)
        for block in self.blocks:
            h = block(h, cos, sin, mask)
        return self.norm(h)

    def cache(self, rows: int, positions: int) -> Cache:
        self._check(positions)
        return Cache(self.config, rows, positions, self.embedding.weight)

    def prefill(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Read prompts (padded on the right) into the cache's first rows.  [B, T] -> hidden [B, T, D]"""
        b, t = tokens.shape
        h = self.embedding(tokens)
        cos, sin = self._rotary(slice(0, t), h.dtype, h.device)
        for block, (keys, values) in zip(self.blocks, cache.layers(), strict=True):
            q, k, v = block.attention.project(block.attention_norm(h), cos, sin)
            keys[:b, :, :t], values[:b, :, :, :t] = k, v.transpose(-1, -2)
            h = h + block.attention.attend(q, k, v, None)
            h = h + block.mlp(h)
        return self.norm(h)

    def step(self, tokens: Tensor, lengths: Tensor, longest: int, cache: Cache) -> Tensor:
        """One token per row: write its keys and values at `lengths`, look at everything before.  [B], [B] -> hidden [B, D]

        `longest` is the largest of `lengths`, known to the caller: attention reads no further.
        """
        b = tokens.shape[0]
        h = self.embedding(tokens)[:, None]  # [B, 1, D]
        cos, sin = self._rotary(lengths[:, None], h.dtype, h.device)
        seen = longest + 1
        unseen = torch.arange(seen, device=tokens.device) > lengths[:, None]
        bias = torch.zeros_like(unseen, dtype=h.dtype).masked_fill_(unseen, float("-inf"))  # [B, S]
        bias = bias[:, None, None]
        rows = torch.arange(b, device=tokens.device)
        for block, (keys, values) in zip(self.blocks, cache.layers(), strict=True):
            q, k, v = block.attention.project(block.attention_norm(h), cos, sin)
            keys[rows, :, lengths], values[rows, :, :, lengths] = k[:, :, 0], v[:, :, 0]
            h = h + block.attention.look_back(q, keys[:b, :, :seen], values[:b, :, :, :seen], bias)
            h = h + block.mlp(h)
        return self.norm(h[:, 0])
