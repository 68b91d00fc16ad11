"""Attention to the KV cache by the library of `native.py`: the queries and keys of some tokens are
turned, their keys and values written, and what their slots hold up to them is looked at, in one
call a layer. A token that is decoded and one of a prompt are the same to it.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from fledge.engine.kv_cache import KVCache
from fledge.engine.native import load_native
from fledge.models.language.transformer_config import TransformerConfig

LANES = 16  # numbers in a register


class _Attention(Structure):
    """`struct Attention` of csrc/attention.c."""

    _fields_ = (
        ("qkv", c_void_p), ("turn", c_void_p), ("positions", c_void_p), ("places", c_void_p),
        ("store", c_void_p), ("y", c_void_p), ("rows", c_int64), ("slots", c_int64),
        ("heads", c_int64), ("kv_heads", c_int64), ("block", c_int64), ("width", c_int64),
        ("turned", c_int64), ("window", c_int64), ("longest", c_int64), ("narrow", c_int32),
        ("threads", c_int32),
    )  # fmt: skip


def can_attend(config: TransformerConfig) -> bool:
    """Whether heads of this width are looked at by the library; it knows no cap of the scores."""
    return config.head_width % LANES == 0 and not config.score_cap


class NativeAttention:
    """Of N tokens at `positions` [N] of `slots` [N], in float32; without slots token i is in slot
    i. No two are at the same place.
    """

    def __init__(
        self,
        config: TransformerConfig,
        positions: Tensor,
        cache: KVCache,
        slots: Tensor | None = None,
    ) -> None:
        self.rows = len(positions)
        if slots is not None and len(slots) != self.rows:
            raise ValueError(f"{self.rows} positions of {len(slots)} slots")
        self.shape = (self.rows, config.heads * config.head_width)
        self.cache = cache
        self.positions = positions.to(torch.int64).contiguous()
        self.places = None if slots is None else slots.to(torch.int64).contiguous()
        self._call = _Attention(
            positions=self.positions.data_ptr(),
            places=None if self.places is None else self.places.data_ptr(), rows=self.rows,
            slots=cache.slots, heads=config.heads, kv_heads=config.kv_heads, block=cache.block,
            width=config.head_width, longest=cache.store.shape[1] * cache.block,
            narrow=cache.store.dtype == torch.bfloat16, threads=torch.get_num_threads(),
        )  # fmt: skip
        self.at = addressof(self._call)  # where the library finds it
        self._base, self._layer = cache.store.data_ptr(), cache.store[0].nbytes
        self._attend: Any = load_native().attend

    def __call__(self, layer: int, qkv: Tensor, turn: Tensor | None, window: int) -> Tensor:
        """qkv [N, heads + 2 kv_heads, d], turned in place; turn [N, 1, r/2]  -> [N, heads · d]"""
        if qkv.dtype != torch.float32 or not qkv.is_contiguous() or len(qkv) != self.rows:
            raise ValueError(f"float32 of {self.rows} rows, not {qkv.dtype} of {len(qkv)}")
        call, y = self._call, qkv.new_empty(self.shape)
        call.qkv, call.y, call.window = qkv.data_ptr(), y.data_ptr(), window
        call.store = self._base + layer * self._layer
        call.turn = None if turn is None else turn.data_ptr()
        call.turned = 0 if turn is None else 2 * turn.shape[-1]
        if self._attend(self.at):
            raise self.outside()
        return y

    def list_stores(self) -> list[int]:
        """Where each layer's part of the KV cache begins."""
        layers = range(len(self.cache.store))
        return [self._base + layer * self._layer for layer in layers]

    def outside(self) -> IndexError:
        slots, longest = self._call.slots, self._call.longest
        return IndexError(f"a token is outside of the {slots} slots of {longest} positions")
