"""The transformer as the token engine runs it: the same function, its weights laid out once for
many small steps, and the KV cache, in slots.

What it does to the weights changes no value beyond rounding: each norm's gain and the 1/√d of
attention are multiplied into the matrix that follows, and the pairs that rotary positions turn are
put side by side, so that a turn is one complex product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.engine.packed import Product, make_product

# Of the weights' products; the residual stream stays in float32.
Generation = Literal["fp32", "bf16", "int8"]
BLOCK = 32  # positions
# Bytes of one layer's cache in float32. Below it is calls that cost: the cache is one block, and in
# float32, whose small products take half the time of those in bfloat16. Above it is memory (torch
# 2.13, two Zen 4 cores: 1.2 to 3 times as fast on the right side).
SMALL_LAYER = 12_000_000


class KVCache:
    """The KV cache: keys and values of every layer for a fixed number of slots, taken once.

    layers × [blocks, 2, slots, kv_heads, block, d]. Positions come first, a block at a time: what n
    slots hold of a block is one piece of memory. A product with it runs at the memory's speed, at
    twice that of one with the beginnings of longer pieces (two Zen 4 cores); and no slot is read
    far past its end.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        positions: int,
        width: int,
        like: Tensor,
        block: int = BLOCK,
    ) -> None:
        """like: a tensor of the dtype and on the device. block: positions in one; no more than a
        multiple of 8 can fill.
        """
        self.slots, self.positions = slots, positions
        self.block = min(block, round_up(positions))
        self.store = like.new_zeros(
            layers, -(-positions // self.block), 2, slots, heads, self.block, width
        )
        self.rows = self.store.view(layers, -1, width).unbind()

    def _holding(self, begin: int, end: int) -> slice:
        """The blocks of these positions."""
        return slice(begin // self.block, -(-end // self.block))

    def move(self, source: int, target: int, length: int) -> None:
        """Slot `target` becomes a copy of the first `length` positions of slot `source`."""
        if self.store.shape[1] == 1:
            self.store[:, :, :, target, :, :length] = self.store[:, :, :, source, :, :length]
        else:
            some = self._holding(0, length)
            self.store[:, some, :, target] = self.store[:, some, :, source]

    def reorder(self, sources: Tensor, begin: int, end: int) -> None:
        """Slot i becomes, from `begin` to `end` at least, a copy of slot sources[i] as it was:
        slots may change places.  [B]
        """
        some = self._holding(begin, end)
        for store in self.store:  # a layer at a time, for the copy that the gather makes
            store[some, :, : len(sources)] = store[some][:, :, sources]

    def locate(self, lengths: Tensor) -> Tensor:
        """Where the first B slots write position `lengths`: row numbers of a layer's store as [-1,
        d].  [B] -> [B·2·kv_heads]
        """
        _, _, _, slots, heads, block, _ = self.store.shape
        device = lengths.device
        slot, part, head = (torch.arange(n, device=device) for n in (len(lengths), 2, heads))
        plane = (lengths // block * 2)[:, None] + part  # [B, 2]
        row = ((plane * slots + slot[:, None]) * heads)[..., None] + head  # [B, 2, kv_heads]
        return (row * block + (lengths % block)[:, None, None]).flatten()

    def write(self, layer: int, places: Tensor, kv: Tensor) -> None:
        """kv [B, 2·kv_heads, d]"""
        self.rows[layer].index_copy_(0, places, kv.reshape(-1, kv.shape[-1]).to(self.store.dtype))

    def view_blocks(
        self, reach: Sequence[int], seen: int
    ) -> list[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Of each block, up to position `seen`: every layer's keys and values.  -> [reach·kv_heads,
        positions, d] each

        reach: how many slots look at block 0, 1, …
        """
        layers, _, _, _, _, block, d = self.store.shape
        blocks = []
        for j, slots in enumerate(reach):
            both = (self.store[:, j, of, :slots].view(layers, -1, block, d) for of in (0, 1))
            k, v = (part[:, :, : seen - j * block].unbind() for part in both)
            blocks.append((k, v))
        return blocks

    def extend(self, layer: int, slots: Tensor, positions: Tensor, kv: Tensor) -> None:
        """kv [B, T, 2·kv_heads, d] at `positions` [B, T] of `slots` [B]"""
        block, offset = positions // self.block, positions % self.block
        new = kv.unflatten(2, (2, -1)).to(self.store.dtype)
        self.store[layer][block, :, slots[:, None], :, offset] = new

    def gather(self, layer: int, slots: Tensor, seen: int) -> Tensor:
        """The first `seen` positions of some slots.  [B] -> [2, B, kv_heads, seen, d]"""
        blocks = self.store[layer, self._holding(0, seen)]
        some = blocks[:, :, slots]  # [blocks, 2, B, kv_heads, block, d]
        return some.permute(1, 2, 3, 0, 4, 5).flatten(3, 4)[:, :, :, :seen]


def build_turns(cos: Tensor, sin: Tensor, real: torch.dtype) -> Tensor:
    """e^{i m θ} of the two tables [T, d].  -> [T, 1, d / 2]"""
    half = cos.shape[1] // 2
    return torch.complex(cos[:, :half].to(real), sin[:, half:].to(real)).unsqueeze(1)


def round_up(positions: int) -> int:
    """As many positions, or a few more: a multiple of 8."""
    return -(-positions // 8) * 8


class GenerationTransformer:
    """`network` as it is now; made anew when its weights change. Not differentiable."""

    @torch.no_grad()
    def __init__(self, network: Any, precision: Generation = "fp32") -> None:
        self.network, c = network, network.config
        self.config = c
        self.embedding = network.embedding.weight
        self.border = network.border
        real = torch.promote_types(self.embedding.dtype, torch.float32)
        self.turn = build_turns(network.rotary.cos, network.rotary.sin, real)
        self.norm_eps = torch.tensor(c.norm_eps, dtype=real, device=self.embedding.device)
        self.compute = torch.bfloat16 if precision == "bf16" else self.embedding.dtype
        self.real, self.narrow = real, torch.bfloat16 if precision == "bf16" else real
        self.layers = [self._lay_out(block, precision) for block in network.blocks]
        self.unembed = self._product(network.unembedding * network.norm.gain(), precision)

    def _lay_out(self, block: Any, precision: Generation) -> tuple[Any, ...]:
        """The products of one layer (qkv, out, gate, up, down), and the gains of queries and keys.

        The norms' gains and the 1/√d of attention go into the matrix that comes next, a pass over
        the hidden states less for each.
        """
        c, attention = self.config, block.attention
        # The pair (i, i + d/2) that is turned together comes to lie at (2i, 2i + 1), which is a
        # complex number in memory. q and k are put in the same order, which leaves q·k as it is.
        places = torch.arange(c.head_width, device=self.embedding.device)
        side_by_side = places.view(2, c.head_width // 2).T.flatten()
        turned = (c.heads + c.kv_heads) * c.head_width  # values are not turned
        rows = torch.arange(turned, device=self.embedding.device)
        rows = rows.view(-1, c.head_width)[:, side_by_side].flatten()
        scale = c.head_width**-0.5
        qkv = attention.qkv.weight * block.attention_norm.weight
        qkv[:turned] = qkv[:turned][rows]
        norms = None
        if c.qk_norm:  # a norm comes between: what scales its input is undone by it
            q = attention.q_norm.weight[side_by_side] * scale
            k = attention.k_norm.weight[side_by_side]
            both = torch.cat([q.expand(c.heads, -1), k.expand(c.kv_heads, -1)])
            norms = both.to(self.real)  # [heads + kv_heads, d]
        else:
            qkv[: c.heads * c.head_width] *= scale
        gate, up = (block.gate_up.weight * block.mlp_norm.weight).chunk(2)
        weights = (qkv, attention.out.weight, gate, up, block.down.weight)
        return (*(self._product(w, precision) for w in weights), norms)

    def _product(self, weight: Tensor, precision: Generation) -> Product:
        return make_product(weight.to(self.compute).contiguous(), quantised=precision == "int8")

    def make_cache(self, slots: int, positions: int) -> KVCache:
        c, (dtype, block) = self.config, self._choose_layout(slots, positions)
        last = min(positions, c.context)
        if len(self.turn) < last:
            # The network keeps the longer table for the next form of itself.
            self.network.reach_position(last)
            self.turn = build_turns(self.network.rotary.cos, self.network.rotary.sin, self.real)
        like = torch.empty(0, dtype=dtype, device=self.turn.device)
        return KVCache(c.layers, slots, c.kv_heads, positions, c.head_width, like, block)

    def count_cache_bytes(self, slots: int, positions: int) -> int:
        """What `make_cache` will take."""
        c, (dtype, block) = self.config, self._choose_layout(slots, positions)
        whole = -(-positions // block) * block
        return c.layers * 2 * slots * c.kv_heads * whole * c.head_width * dtype.itemsize

    def _choose_layout(self, slots: int, positions: int) -> tuple[torch.dtype, int]:
        """The KV cache's dtype and how many positions are in a block."""
        c = self.config
        if self.turn.device.type != "cpu":
            return self.narrow, round_up(positions)
        layer = 2 * slots * c.kv_heads * positions * c.head_width * self.real.itemsize
        if layer <= SMALL_LAYER:
            return self.real, round_up(positions)
        return self.narrow, min(BLOCK, round_up(positions))

    def _normalise(self, h: Tensor) -> Tensor:
        """h / √(mean h² + ε): as `F.rms_norm`, in half of its time.  [N, D] -> [N, D]"""
        size = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
        return (h * torch.addcmul(self.norm_eps, size, size, value=1 / h.shape[-1]).rsqrt_()).to(
            self.compute
        )

    def _project(self, x: Tensor, multiply: Product, norms: Tensor | None, turn: Tensor) -> Tensor:
        """Queries, keys and values, turned and scaled, in the cache's precision.

        [N, D], [N, 1, d/2] -> [N, heads + 2 kv_heads, d]
        """
        c = self.config
        qkv = multiply(x).to(turn.real.dtype).view(x.shape[0], -1, c.head_width)
        qk = qkv[:, : c.heads + c.kv_heads]
        if norms is not None:
            qk.copy_(F.rms_norm(qk, (c.head_width,), None, c.norm_eps) * norms)
        pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)))
        pairs.mul_(turn)
        return qkv

    def _mlp(self, h: Tensor, gate: Product, up: Product, down: Product) -> Tensor:
        x = self._normalise(h)
        return down.add(up.multiply(x, gate.silu(x)), h)

    def step(self, tokens: Tensor, lengths: Tensor, held: Sequence[int], cache: KVCache) -> Tensor:
        """Decode: one token for each of the first B slots. Write its key and value at `lengths`,
        look at what the slot holds.  [B], [B] -> [B, D]

        held: `lengths`, in the host's memory. Slots in order of length, longest first, cost least.
        """
        c, b = self.config, tokens.shape[0]
        group, seen = c.heads // c.kv_heads, max(held) + 1
        h, turn = self.embedding[tokens].to(self.turn.real.dtype), self.turn[lengths]
        # What is the same in every layer is found once: where to write, which blocks to read, and
        # views of them.
        places, reach = cache.locate(lengths), count_reach(held, cache.block)
        views = cache.view_blocks(reach, seen)
        whole = min(held) + 1 == seen and (not c.window or seen <= c.window)  # nothing to hide
        bias = None if whole else self._mask_unseen(lengths[:, None], seen)  # [B, 1, S]
        for layer, (qkv, out, gate, up, down, norms) in enumerate(self.layers):
            projected = self._project(self._normalise(h), qkv, norms, turn)
            q, kv = projected.split([c.heads, 2 * c.kv_heads], 1)
            cache.write(layer, places, kv)  # first: a token looks at itself too
            # The heads that share keys are the rows of one product with them.
            q = q.reshape(b * c.kv_heads, group, c.head_width).to(cache.store.dtype)
            y = attend(q, [(k[layer], v[layer]) for k, v in views], bias)
            h = self._mlp(out.add(y.reshape(b, -1).to(self.compute), h), gate, up, down)
        return h

    def extend(
        self, tokens: Tensor, starts: Tensor, slots: Tensor, longest: int, cache: KVCache
    ) -> Tensor:
        """Prefill: several tokens for each of some slots, at positions `starts` and after.

        [B, T], [B], [B] -> [B, T, D]

        longest: the largest of starts + T. Rows shorter than T are padded on the right: what is
            written there is overwritten later.
        """
        c, (b, t) = self.config, tokens.shape
        positions = starts[:, None] + torch.arange(t, device=tokens.device)  # [B, T]
        kept = positions.clamp(max=cache.positions - 1)
        turn = self.turn[positions.clamp(max=self.turn.shape[0] - 1).flatten()]
        h = self.embedding[tokens.flatten()].to(self.turn.real.dtype)  # [B·T, D]
        seen = min(longest, cache.positions)
        # Nothing is held that they look at.
        fresh = not bool(starts.any()) and t <= cache.positions and not c.window
        mask = None
        if not fresh:
            # Padding looks somewhere too: of what sees nothing (beyond a window) a kernel may make
            # NaN, and a NaN key is heard though masked.
            unseen = self._mask_unseen(positions.clamp(max=seen - 1), seen)
            mask = unseen[:, None].to(cache.store.dtype)  # [B, 1, T, S]
        for layer, (qkv, out, gate, up, down, norms) in enumerate(self.layers):
            projected = self._project(self._normalise(h), qkv, norms, turn)
            projected = projected.view(b, t, -1, c.head_width)
            q, kv = projected.to(cache.store.dtype).split([c.heads, 2 * c.kv_heads], 2)
            cache.extend(layer, slots, kept, kv)
            # A prompt from its start on looks at what was just computed, and the kernel for causal
            # attention skips half of it; else the cache is gathered, and a mask says what is seen.
            if fresh:
                k, v = kv.unflatten(2, (2, -1)).permute(2, 0, 3, 1, 4)
            else:
                k, v = cache.gather(layer, slots, seen)
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2),
                k,
                v,
                attn_mask=mask,
                is_causal=fresh,
                scale=1.0,
                enable_gqa=c.heads != c.kv_heads,
            )
            y = y.transpose(1, 2).reshape(b * t, -1).to(self.compute)
            h = self._mlp(out.add(y, h), gate, up, down)
        return h.view(b, t, -1)

    def _mask_unseen(self, positions: Tensor, seen: int) -> Tensor:
        """What is added to scores: 0 where a query at `positions` [B, T] may look, −∞ elsewhere.
        -> [B, T, seen]
        """
        keys = torch.arange(seen, device=positions.device)
        hidden = keys > positions[..., None]
        if self.config.window:
            hidden |= keys <= positions[..., None] - self.config.window
        bias = torch.zeros(hidden.shape, dtype=self.turn.real.dtype, device=hidden.device)
        return bias.masked_fill_(hidden, float("-inf"))

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] -> [N, V], in float32 or better"""
        raw = self.unembed(self._normalise(hidden))
        return raw.to(torch.promote_types(raw.dtype, torch.float32))


def count_reach(held: Sequence[int], block: int) -> list[int]:
    """How many slots have to be asked for block 0, 1, …: up to the last that holds, or writes now,
    anything of it.
    """
    reach = [0] * (max(held) // block + 1)
    for slot, n in enumerate(held):
        reach[n // block] = slot + 1
    for j in range(len(reach) - 2, -1, -1):
        reach[j] = max(reach[j], reach[j + 1])
    return reach


def attend(q: Tensor, blocks: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None) -> Tensor:
    """One query per slot on what its slot holds.  q [N, G, d], keys and values by blocks, bias [B,
    1, S] -> as q

    N = slots · kv_heads, G = heads / kv_heads. The first slots may have blocks that the last have
    not.
    """
    n, group, _ = q.shape
    if len(blocks) == 1:
        scores = torch.bmm(q, blocks[0][0].transpose(1, 2))
    else:
        seen, ragged = sum(k.shape[1] for k, _ in blocks), len(blocks[-1][0]) < n
        block = blocks[0][0].shape[1]
        # In one array, so that there is one softmax. Where a row has no block its scores are
        # masked, and must be numbers all the same: memory that was never written may hold NaN.
        scores = (torch.zeros if ragged else torch.empty)(
            len(blocks), n, group, block, dtype=q.dtype, device=q.device
        )
        for part, (keys, _) in zip(scores, blocks, strict=True):
            torch.bmm(
                q[: len(keys)], keys.transpose(1, 2), out=part[: len(keys), :, : keys.shape[1]]
            )
        scores = scores.permute(1, 2, 0, 3).flatten(2)[..., :seen]  # [N, G, S]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if bias is not None:
        scores = (scores.view(len(bias), -1, group, scores.shape[2]) + bias[:, None]).view(
            n, group, -1
        )
    # In float32 also where the cache is in bfloat16, whose exponentials are too coarse to add up.
    p = scores.softmax(-1).to(q.dtype)
    y = torch.bmm(p[..., : blocks[0][1].shape[1]], blocks[0][1])
    if len(blocks) > 1:
        # Sums over many blocks in float32: in bfloat16 each addition would round.
        y, begin = y.to(scores.dtype), blocks[0][1].shape[1]
        for _, values in blocks[1:]:
            m, end = len(values), begin + values.shape[1]
            y[:m] += torch.bmm(p[:m, :, begin:end], values)
            begin = end
    return y
