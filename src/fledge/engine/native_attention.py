"""One step's attention to the KV cache by the library of `native.py`: a row's query and key are
turned, its key and value written, and what its slot holds is looked at, in one call a layer.
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
        ("qkv", c_void_p), ("turn", c_void_p), ("lengths", c_void_p), ("store", c_void_p),
        ("y", c_void_p), ("rows", c_int64), ("slots", c_int64), ("heads", c_int64),
        ("kv_heads", c_int64), ("block", c_int64), ("width", c_int64), ("turned", c_int64),
        ("window", c_int64), ("positions", c_int64), ("narrow", c_int32), ("threads", c_int32),
    )  # fmt: skip


def can_attend(config: TransformerConfig) -> bool:
    """Whether heads of this width are looked at by the library; it knows no cap of the scores."""
    return config.head_width % LANES == 0 and not config.score_cap


class NativeAttention:
    """Of one step: the first B slots at `lengths` [B], in float32."""

    def __init__(self, config: TransformerConfig, lengths: Tensor, cache: KVCache) -> None:
        if len(lengths) > cache.slots:
            raise IndexError(f"{len(lengths)} rows for the {cache.slots} slots of the cache")
        self.lengths, self.cache = lengths.to(torch.int64).contiguous(), cache
        self.rows, self.shape = len(lengths), (len(lengths), config.heads * config.head_width)
        self._call = _Attention(
            lengths=self.lengths.data_ptr(), rows=self.rows, slots=cache.slots,
            heads=config.heads, kv_heads=config.kv_heads, block=cache.block,
            width=config.head_width, positions=cache.store.shape[1] * cache.block,
            narrow=cache.store.dtype == torch.bfloat16,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        self._at = addressof(self._call)
        self._base, self._layer = cache.store.data_ptr(), cache.store[0].nbytes
        self._attend: Any = load_native().attend

    def __call__(self, layer: int, qkv: Tensor, turn: Tensor | None, window: int) -> Tensor:
        """qkv [B, heads + 2 kv_heads, d], turned in place; turn [B, 1, r/2]  -> [B, heads · d]"""
        if qkv.dtype != torch.float32 or not qkv.is_contiguous() or len(qkv) != self.rows:
            raise ValueError(f"float32 of {self.rows} rows, not {qkv.dtype} of {len(qkv)}")
        call, y = self._call, qkv.new_empty(self.shape)
        call.qkv, call.y, call.window = qkv.data_ptr(), y.data_ptr(), window
        call.store = self._base + layer * self._layer
        call.turn = None if turn is None else turn.data_ptr()
        call.turned = 0 if turn is None else 2 * turn.shape[-1]
        if self._attend(self._at):
            raise IndexError(f"a row is past the {call.positions} positions of its slot")
        return y
