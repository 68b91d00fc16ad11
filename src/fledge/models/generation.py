"""The transformer as the token engine runs it: the same function, its weights laid out once for many small steps, and a cache by lanes.

What it does to the weights changes no value beyond rounding: each norm's gain and the 1/√d of attention are multiplied into the matrix
that follows, and the pairs that rotary positions turn are put side by side, so that a turn is one complex product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.packed import product

Generation = Literal[
    "fp32", "bf16", "int8"
]  # of the weights' products; the cache and the residual stream stay in float32
Zone = tuple[int, int, int]  # the first n lanes look at positions from a up to b
COARSE = 64  # positions: where zones may begin
WORTH = 4096  # lanes × positions that a further zone must spare: fewer cost less than its two products


class Lanes:
    """Keys and values of every layer for a fixed number of lanes, taken once.  [layers, 2, lanes, kv_heads, positions, d]"""

    def __init__(self, layers: int, lanes: int, heads: int, positions: int, width: int, like: Tensor) -> None:
        self.lanes, self.positions = lanes, positions
        self.store = like.new_zeros(layers, 2, lanes, heads, positions, width)

    def move(self, source: int, target: int, length: int) -> None:
        """Lane `target` becomes a copy of the first `length` positions of lane `source`."""
        self.store[:, :, target, :, :length] = self.store[:, :, source, :, :length]

    def spread(self, source: int, targets: Sequence[int], length: int) -> None:
        """`move` to several lanes."""
        for target in targets:
            self.move(source, target, length)


def zones(lengths: Sequence[int], coarse: int = COARSE, worth: int = WORTH) -> list[Zone]:
    """Which lanes look at which positions, when lane i looks at the first lengths[i]: rectangles that cover them and little more.

    Lanes in order of length, longest first, make tight ones; lanes in any order make right ones.
    """
    n, begin, end = len(lengths), 0, max(lengths)
    if n * end < worth:
        return [(n, 0, end)]
    reach = list(lengths)  # of this lane or any after it
    for i in range(n - 2, -1, -1):
        reach[i] = max(reach[i], reach[i + 1])
    found: list[Zone] = []
    fewer = n
    for border in range(coarse, end, coarse):
        while reach[fewer - 1] <= border:
            fewer -= 1
        if (n - fewer) * (end - border) >= worth:
            found.append((n, begin, border))
            n, begin = fewer, border
    return [*found, (n, begin, end)]


class GenerationTransformer:
    """`network` as it is now; made anew when its weights change. Not differentiable."""

    @torch.no_grad()
    def __init__(self, network: Any, precision: Generation = "fp32") -> None:
        c = self.config = network.config
        self.embedding = network.embedding.weight
        self.border = network.border
        half = c.head_width // 2
        device, real = self.embedding.device, torch.promote_types(self.embedding.dtype, torch.float32)
        # [context, 1, d / 2]: e^{i m θ}
        self.turn = torch.complex(network.cos[:, :half].to(real), network.sin[:, half:].to(real)).unsqueeze(1)
        self.compute = torch.bfloat16 if precision == "bf16" else self.embedding.dtype
        side_by_side = torch.arange(c.head_width, device=device).view(2, half).T.flatten()
        turned = (c.heads + c.kv_heads) * c.head_width
        rows = torch.arange(turned, device=device).view(-1, c.head_width)[:, side_by_side].flatten()
        scale = c.head_width**-0.5
        self.layers = []
        for block in network.blocks:
            attention = block.attention
            qkv = attention.qkv.weight * block.attention_norm.weight
            qkv[:turned] = qkv[:turned][rows]
            norms = None
            if c.qk_norm:
                q, k = attention.q_norm.weight[side_by_side] * scale, attention.k_norm.weight[side_by_side]
                norms = torch.cat([q.expand(c.heads, -1), k.expand(c.kv_heads, -1)]).to(real)  # [heads + kv_heads, d]
            else:
                qkv[: c.heads * c.head_width] *= scale
            gate_up = block.gate_up.weight * block.mlp_norm.weight
            weights = (qkv, attention.out.weight, gate_up, block.down.weight)
            self.layers.append((*(self._product(w, precision) for w in weights), norms))
        self.unembed = self._product(network.unembedding * network.norm.weight, precision)

    def _product(self, weight: Tensor, precision: Generation) -> Callable[[Tensor], Tensor]:
        return product(weight.to(self.compute), quantised=precision == "int8")

    def lanes(self, lanes: int, positions: int) -> Lanes:
        c = self.config
        return Lanes(c.layers, lanes, c.kv_heads, positions, c.head_width, self.turn.real)

    def bytes_per_lane(self, positions: int) -> int:
        c = self.config
        return c.layers * 2 * c.kv_heads * positions * c.head_width * self.turn.real.element_size()

    def _normal(self, h: Tensor) -> Tensor:
        return F.rms_norm(h, h.shape[-1:], None, self.config.norm_eps).to(self.compute)

    def _project(self, x: Tensor, multiply: Callable[[Tensor], Tensor], norms: Tensor | None, turn: Tensor) -> Tensor:
        """Queries, keys and values, turned and scaled, in the cache's precision.  [N, D], [N, 1, d/2] -> [N, heads + 2 kv_heads, d]"""
        c = self.config
        qkv = multiply(x).to(turn.real.dtype).view(x.shape[0], -1, c.head_width)
        qk = qkv[:, : c.heads + c.kv_heads]
        if norms is not None:
            qk.copy_(F.rms_norm(qk, (c.head_width,), None, c.norm_eps) * norms)
        pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)))
        pairs.mul_(turn)
        return qkv

    def _mlp(self, h: Tensor, widen: Callable[[Tensor], Tensor], narrow: Callable[[Tensor], Tensor]) -> Tensor:
        gate, up = widen(self._normal(h)).chunk(2, -1)
        return h + narrow(F.silu(gate).mul_(up))

    def step(self, tokens: Tensor, lengths: Tensor, seen: Sequence[Zone], cache: Lanes) -> Tensor:
        """One token for each of the first B lanes: write its key and value at `lengths`, look at what the lane holds.  [B], [B] -> [B, D]

        seen: of `zones`, what each lane looks at, the new token included.
        """
        c, b = self.config, tokens.shape[0]
        rows, group, last = torch.arange(b, device=tokens.device), c.heads // c.kv_heads, seen[-1][2]
        h, turn = self.embedding[tokens].to(self.turn.real.dtype), self.turn[lengths]
        bias = self._unseen(lengths[:, None], last)  # [B, 1, S]
        for store, (qkv, out, widen, narrow, norms) in zip(cache.store, self.layers, strict=True):
            projected = self._project(self._normal(h), qkv, norms, turn)
            q, kv = projected.split([c.heads, 2 * c.kv_heads], 1)
            store[:, rows, :, lengths] = kv.view(b, 2, c.kv_heads, c.head_width)
            y = look_back(q.view(b, c.kv_heads, group, c.head_width), store, bias, seen)
            h = h + out(y.reshape(b, -1).to(self.compute))
            h = self._mlp(h, widen, narrow)
        return h

    def extend(self, tokens: Tensor, starts: Tensor, lanes: Tensor, longest: int, cache: Lanes) -> Tensor:
        """Several tokens for each of some lanes, at positions `starts` and after it.  [B, T], [B], [B] -> [B, T, D]

        longest: the largest of starts + T. Rows shorter than T are padded on the right: what is written there is overwritten later.
        """
        c, (b, t) = self.config, tokens.shape
        positions = starts[:, None] + torch.arange(t, device=tokens.device)  # [B, T]
        held = positions.clamp(max=cache.positions - 1)
        turn = self.turn[positions.clamp(max=self.turn.shape[0] - 1).flatten()]
        h = self.embedding[tokens.flatten()].to(self.turn.real.dtype)  # [B·T, D]
        seen = min(longest, cache.positions)
        mask = self._unseen(positions, seen)[:, None]  # [B, 1, T, S]
        for store, (qkv, out, widen, narrow, norms) in zip(cache.store, self.layers, strict=True):
            projected = self._project(self._normal(h), qkv, norms, turn).view(b, t, -1, c.head_width)
            q, kv = projected.split([c.heads, 2 * c.kv_heads], 2)
            store[:, lanes[:, None], :, held] = kv.view(b, t, 2, c.kv_heads, c.head_width)
            k, v = store[:, lanes, :, :seen]
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2), k, v, attn_mask=mask, scale=1.0, enable_gqa=c.heads != c.kv_heads
            )
            h = h + out(y.transpose(1, 2).reshape(b * t, -1).to(self.compute))
            h = self._mlp(h, widen, narrow)
        return h.view(b, t, -1)

    def _unseen(self, positions: Tensor, seen: int) -> Tensor:
        """What is added to scores: 0 where a query at `positions` [B, T] may look, −∞ elsewhere.  -> [B, T, seen]"""
        slots = torch.arange(seen, device=positions.device)
        hidden = slots > positions[..., None]
        if self.config.window:
            hidden |= slots <= positions[..., None] - self.config.window
        return torch.zeros(hidden.shape, dtype=self.turn.real.dtype, device=hidden.device).masked_fill_(
            hidden, float("-inf")
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V], in float32 or better"""
        raw = self.unembed(self._normal(hidden))
        return raw.to(torch.promote_types(raw.dtype, torch.float32))


def look_back(q: Tensor, store: Tensor, bias: Tensor, seen: Sequence[Zone]) -> Tensor:
    """One query per lane on what its lane holds.  q [B, kv_heads, heads/kv_heads, d], store [2, lanes, …], bias [B, 1, S] -> as q"""
    if len(seen) == 1:
        keys, values = store[:, : q.shape[0], :, : seen[0][2]]  # [B, kv_heads, S, d]
        scores = (keys @ q.transpose(-1, -2)).transpose(-1, -2) + bias[:, None]
        return scores.softmax(-1) @ values
    scores = q.new_zeros(*q.shape[:3], seen[-1][2])
    for n, a, b in seen:
        scores[:n, :, :, a:b] = (store[0, :n, :, a:b] @ q[:n].transpose(-1, -2)).transpose(-1, -2)
    p = (scores + bias[:, None]).softmax(-1)
    y = torch.zeros_like(q)
    for n, a, b in seen:
        y[:n] += p[:n, :, :, a:b] @ store[1, :n, :, a:b]
    return y
