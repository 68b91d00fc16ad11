"""The KV cache of a fast form, in slots and blocks of positions, and one step's attention to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 32  # positions


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


def round_up(positions: int) -> int:
    """As many positions, or a few more: a multiple of 8."""
    return -(-positions // 8) * 8


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


def attend(
    q: Tensor, blocks: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None, cap: float = 0.0
) -> Tensor:
    """One query per slot on what its slot holds.  q [N, G, d], keys and values by blocks, bias [B,
    1, S] -> as q

    N = slots · kv_heads, G = heads / kv_heads. The first slots may have blocks that the last have
    not. cap: c, where the scores s are c·tanh(s/c).
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
    if cap:
        scores = cap * torch.tanh(scores / cap)
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
