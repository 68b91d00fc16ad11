"""Attention over rows of a batch on a CPU: by the C of `csrc/` where it can be compiled; elsewhere,
of some hundred tokens in bfloat16, as plain matrix products, 1.6 to 7 times PyTorch's own there.

softmax(Q Kᵀ / √d) V (Vaswani et al. 2017, eq. 1). The fused kernel's backward pass is slow in
bfloat16 on short rows: 14 ms against 2 ms for 64 rows of 32 tokens and 4 heads of 32, 40 ms against
23 ms for 16 rows of 256 tokens and 4 heads of 64 (torch 2.13, one Zen 4 core). Like it, neither way
keeps a [T, T] array for the backward pass: it is computed again, a few rows at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fledge.compiled_constant import constant_when_compiled
from fledge.models.language.attention_kernel import learn_attention, read_attention, suits_kernel

# Tokens: from there on the kernel is no slower than PyTorch's in float32; up to there, without it,
# plain products are faster than PyTorch's in bfloat16, which never looks above the diagonal.
SHORTEST, LONGEST = 32, 512
AT_A_TIME = 2**19  # scores per thread: a megabyte, which stays in a core's cache


def is_faster(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether this is the faster way for rows of these queries, keys and values."""
    if not 1 < q.shape[2] <= k.shape[2] or _is_transformed():
        return False
    narrow = q.dtype == torch.bfloat16
    # What only stands for numbers is counted by PyTorch's own operations. The kernel's threads take
    # a head of keys and values each.
    if type(q) is Tensor and suits_kernel(q, k, v) and q.shape[0] * k.shape[1] >= _count_threads():
        return narrow or q.shape[2] >= SHORTEST
    return narrow and k.shape[2] <= LONGEST and q.device.type == "cpu"


@constant_when_compiled
def _is_transformed() -> bool:
    """Whether somebody differentiates many rows at once, or forwards: through operations of
    PyTorch's, of which it knows how.
    """
    return (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


@constant_when_compiled
def _count_threads() -> int:
    return torch.get_num_threads()


def short_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """mask: None is causal, of as many queries as keys; else bool [B, 1, T, S], True where
    attention is allowed.  [B, heads, T, d], [B, kv_heads, S, d] twice -> [B, heads, T, d]
    """
    # As a part of the projection, v would keep all of it for the backward pass.
    return _forward(q, k, v.clone() if v.requires_grad else v, mask)[0]


# As operators of their own they are one node each to torch.compile, which would otherwise unroll
# their loops.
@torch.library.custom_op("fledge::short_attention", mutates_args=())
def _forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """-> [B, heads, T, d]; what the kernel keeps of each row [B, heads, T], or nothing [0]"""
    y, normaliser = _like(q), _normaliser(q, k, v, mask)
    if normaliser.ndim > 1:
        read_attention(q, k, v, mask, y, normaliser)
        return y, normaliser
    with torch.autocast("cpu", enabled=False):
        for rows, bias in _pieces(q, mask):
            y[rows] = _weights(q[rows], _share(k[rows], q), bias) @ _share(v[rows], q)
    return y, normaliser


@torch.library.custom_op("fledge::short_attention_backward", mutates_args=())
def _backward(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, normaliser: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    g_q, g_k, g_v = _like(q), _like(k), _like(v)
    if normaliser.ndim > 1:
        learn_attention(g, q, k, v, mask, normaliser, (g_q, g_k, g_v))
        return g_q, g_k, g_v
    groups = (k.shape[1], q.shape[1] // k.shape[1])
    scale = q.shape[-1] ** -0.5
    with torch.autocast("cpu", enabled=False):
        for rows, bias in _pieces(q, mask):
            k_each, v_each = _share(k[rows], q), _share(v[rows], q)
            p = _weights(q[rows], k_each, bias)
            g_v[rows] = (p.transpose(-1, -2) @ g[rows]).unflatten(1, groups).sum(2)
            g_p = g[rows] @ v_each.transpose(-1, -2)
            g_scores = torch._softmax_backward_data(  # pyright: ignore[reportPrivateImportUsage]
                g_p, p, -1, p.dtype
            )
            g_q[rows] = (g_scores @ k_each).mul_(scale)
            own = g_scores.transpose(-1, -2) @ (q[rows] * scale)
            g_k[rows] = own.unflatten(1, groups).sum(2)
    return g_q, g_k, g_v


def _share(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values once for every head of queries.  [b, kv_heads, T, d] -> [b, heads, T, d]"""
    return x.repeat_interleave(q.shape[1] // x.shape[1], dim=1)


def _weights(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.add_(bias).softmax(-1)  # in float32 inside


def _pieces(q: Tensor, mask: Tensor | None) -> list[tuple[slice, Tensor]]:
    """Rows to take together, and what is added to their scores: 0 where attention is allowed, −∞
    elsewhere.
    """
    b, heads, t, _ = q.shape
    if mask is None:
        mask = torch.ones(t, t, dtype=torch.bool, device=q.device).tril()[None, None]
    bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(
        ~mask, float("-inf")
    )
    bias = bias.expand(b, 1, t, -1)
    size = max(1, AT_A_TIME * torch.get_num_threads() // (heads * t * bias.shape[-1]))
    return [(slice(a, a + size), bias[a : a + size]) for a in range(0, b, size)]


def _like(x: Tensor) -> Tensor:
    """Room for [B, heads, T, d] that lies in memory as [B, T, heads, d]: the projections before and
    after read it as it is.
    """
    b, heads, t, d = x.shape
    return x.new_empty(b, t, heads, d).transpose(1, 2)


def _normaliser(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[B, heads, T] where the kernel attends, else [0]"""
    shape = q.shape[:3] if suits_kernel(q, k, v, mask) else (0,)
    return q.new_empty(shape, dtype=torch.float32)


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    return _like(q), _normaliser(q, k, v, mask)


@_backward.register_fake
def _(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, normaliser: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _keep(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: tuple[Tensor, Tensor]
) -> None:
    q, k, v, mask = inputs
    ctx.save_for_backward(q, k, v, output[1], mask)


def _differentiate(ctx: Any, g: Tensor, of_normaliser: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(g, *ctx.saved_tensors), None


_forward.register_autograd(_differentiate, setup_context=_keep)
