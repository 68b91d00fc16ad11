"""Attention with grouped queries: rotary positions, norms of queries and keys, scores that may be
capped.

Vaswani et al. 2017, eq. 1; Ainslie et al. 2023. Query, key and value are one product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fledge.models.language.norms import make_norm
from fledge.models.language.positions import rotate
from fledge.models.language.shared_prompts import SharedPrompts
from fledge.models.language.short_attention import is_faster, short_attention
from fledge.models.language.transformer_config import TransformerConfig

Turns = tuple[Tensor, Tensor]  # cos and sin of each position


class Attention(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        wide = (c.heads + 2 * c.kv_heads) * c.head_width
        self.qkv = nn.Linear(c.width, wide, bias=c.qkv_bias)
        self.out = nn.Linear(c.heads * c.head_width, c.width, bias=c.out_bias)
        if c.qk_norm:
            heads = (c.heads, c.kv_heads) if c.qk_norm_whole else (1, 1)
            self.q_norm, self.k_norm = (
                make_norm(c.norm, n * c.head_width, c.norm_eps) for n in heads
            )

    def project(self, x: Tensor, turns: Turns | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned where there are `turns`, and values.  [B, T, D] -> [B, heads, T,
        d], [B, kv_heads, T, d] twice
        """
        c = self.config
        b, t, _ = x.shape
        qkv = self.qkv(x).view(b, t, c.heads + 2 * c.kv_heads, c.head_width)
        qk, v = qkv.split([c.heads + c.kv_heads, c.kv_heads], dim=2)
        if c.qk_norm:
            q, k = qk.split([c.heads, c.kv_heads], dim=2)
            qk = torch.cat([self._norm(self.q_norm, q), self._norm(self.k_norm, k)], dim=2)
        if turns is not None:
            qk = rotate(qk, *turns)
        q, k = qk.transpose(1, 2).split([c.heads, c.kv_heads], dim=1)
        return q, k, v.transpose(1, 2)

    def _norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        """[B, T, heads, d] -> the same"""
        return norm(x.flatten(2)).view(x.shape) if self.config.qk_norm_whole else norm(x)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | SharedPrompts | None
    ) -> Tensor:
        """mask: None is causal; else bool [B, 1, T, S], True where attention is allowed, or how
        rows lie that share their prompts.  -> [B, T, D]
        """
        b, _, t, _ = q.shape
        if isinstance(mask, SharedPrompts):
            y = mask.attend(q, k, v, self._read)
        else:
            y = self._read(q, k, v, mask)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))

    def _read(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """-> [B, heads, T, d]"""
        c = self.config
        grouped = c.heads != c.kv_heads
        if c.score_cap or (not c.score_scale and is_faster(q, k, v)):
            if c.score_cap:
                if grouped:
                    k, v = (x.repeat_interleave(c.heads // c.kv_heads, dim=1) for x in (k, v))
                return capped_attention(q, k, v, mask, c.scale, c.score_cap)
            return short_attention(q, k, v, mask)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped,
            scale=c.score_scale or None,
        )  # fmt: skip


def capped_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, cap: float
) -> Tensor:
    """softmax(c·tanh(scale·QKᵀ / c)) V (Gemma Team 2024b, §2), for which there is no fused kernel.

    mask: None is causal; else bool, True where attention is allowed, or what is added to the
    scores.  [B, heads, T, d], [B, heads, S, d] twice -> [B, heads, T, d]
    """
    scores = (q * scale) @ k.transpose(-1, -2)
    scores = cap * torch.tanh(scores.to(torch.promote_types(scores.dtype, torch.float32)) / cap)
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    else:
        scores = scores + mask
    return scores.softmax(-1).to(v.dtype) @ v
