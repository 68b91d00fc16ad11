"""Attention over whole rows by the C of `csrc/`, forward and backward in one call each, on a CPU
with AVX-512 and a compiler: scores stay in the caches, and blocks of them that lie above the
diagonal are not computed.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.compiled_constant import constant_when_compiled
from fledge.team_library import load_team_library

SOURCES = Path(__file__).with_name("csrc")
WIDEST = 256  # of a head
TYPES = (torch.float32, torch.bfloat16)


class _View(Structure):
    """As `View` of attention.c."""

    _fields_ = [("place", c_void_p), *((name, c_int64) for name in ("batch", "head", "row"))]


class _Attention(Structure):
    """As `Attention` of attention.c."""

    _fields_ = [
        *((name, _View) for name in ("q", "k", "v", "g")),
        ("mask", c_void_p), ("mask_batch", c_int64), ("mask_row", c_int64),
        *((name, c_void_p) for name in ("y", "g_q", "g_k", "g_v", "normaliser")),
        *((name, c_int64) for name in (
            "rows", "heads", "kv_heads", "queries", "keys", "width", "narrow",
        )),
        ("scale", c_double),
    ]  # fmt: skip


@cache
def load_kernel() -> Any:
    """The library, or None where it cannot be had, or where torch's kernels are as fast."""
    return load_team_library(SOURCES, "the C of attention", ("read_attention", "learn_attention"))


@constant_when_compiled
def _is_at_hand() -> bool:
    return load_kernel() is not None


def suits_kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> bool:
    """Whether it attends to these."""
    return (
        q.ndim == k.ndim == 4
        and k.shape == v.shape
        and (q.shape[0], q.shape[3]) == (k.shape[0], k.shape[3])
        and q.shape[1] % k.shape[1] == 0
        and (mask is None or mask.dtype == torch.bool)
        and q.dtype == k.dtype == v.dtype
        and q.dtype in TYPES
        and q.device.type == "cpu"
        and q.shape[-1] <= WIDEST
        and q.numel() > 0
        and _is_at_hand()
    )


def read_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, y: Tensor, normaliser: Tensor
) -> None:
    """softmax(Q Kᵀ / √d) V into y, which lies in memory as [B, T, heads, d], and the logarithm of
    what divides each row into normaliser.

    mask: None is causal, of as many queries as keys; else bool [B or 1, 1, T, S], True where
    attention is allowed.  [B, heads, T, d], [B, kv_heads, S, d] twice, [B, heads, T, d], [B, heads,
    T] float32
    """
    job, _kept = _describe(q, k, v, None, mask)
    job.y, job.normaliser = y.data_ptr(), normaliser.data_ptr()
    load_kernel().read_attention(byref(job), torch.get_num_threads())


def learn_attention(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    normaliser: Tensor,
    slopes: tuple[Tensor, Tensor, Tensor],
) -> None:
    """What the slope g [B, heads, T, d] of y is for q, k and v, into `slopes`, which lie in memory
    as [B, T, heads, d].
    """
    job, _kept = _describe(q, k, v, g, mask)
    job.normaliser = normaliser.data_ptr()
    job.g_q, job.g_k, job.g_v = (slope.data_ptr() for slope in slopes)
    load_kernel().learn_attention(byref(job), torch.get_num_threads())


def _describe(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, mask: Tensor | None
) -> tuple[_Attention, list[Tensor | None]]:
    """And what C reads, to be kept as long as it does."""
    each = [x if x is None or x.stride(-1) == 1 else x.contiguous() for x in (q, k, v, g)]
    views = [_View() if x is None else _View(x.data_ptr(), *x.stride()[:3]) for x in each]
    rows, heads, queries, width = q.shape
    keys = k.shape[2]
    place, steps = None, (0, 0)
    if mask is not None:
        mask = mask.expand(rows, 1, queries, keys)
        mask = mask if mask.stride(-1) == 1 else mask.contiguous()
        place, steps = mask.data_ptr(), (mask.stride(0), mask.stride(2))
    job = _Attention(
        *views, place, *steps, None, None, None, None, None, rows, heads, k.shape[1], queries, keys,
        width, q.dtype == torch.bfloat16, width**-0.5,
    )  # fmt: skip
    return job, [*each, mask]
