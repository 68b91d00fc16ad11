"""Attention to what is near, to either side, in time that grows with a row's length and not with
its square: each block of queries sees its own keys and those of the blocks beside it.

Local attention of Longformer (Beltagy et al. 2020, §3.1), as ModernBERT has it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_near(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """softmax(Q Kᵀ / √d) V over keys that are no farther than `window` from their query.
    [B, heads, T, d] three times -> the same
    """
    b, heads, t, d = q.shape
    blocks = -(-t // window)
    behind = blocks * window - t
    queries = F.pad(q, (0, 0, 0, behind)).view(b, heads, blocks, window, d).transpose(1, 2)
    keys, values = (
        F.pad(x, (0, 0, window, window + behind))
        .unfold(2, 3 * window, window)  # [B, heads, blocks, d, 3 · window]
        .permute(0, 2, 1, 4, 3)
        for x in (k, v)
    )
    mask = see_near(t, window, blocks, q.device).repeat(b, 1, 1, 1)
    read = F.scaled_dot_product_attention(
        *(x.flatten(0, 1) for x in (queries, keys, values)), attn_mask=mask
    )  # [B · blocks, heads, window, d]
    return read.view(b, blocks, heads, window, d).transpose(1, 2).flatten(2, 3)[:, :, :t]


def see_near(length: int, window: int, blocks: int, device: torch.device) -> Tensor:
    """Which key of its three blocks each query sees; a query behind the row's end, which nobody
    asks about, sees all, for a softmax over nothing has no gradient.
    -> [blocks, 1, window, 3 · window] bool
    """
    first = torch.arange(blocks, device=device)[:, None, None] * window
    query = first + torch.arange(window, device=device)[:, None]
    key = first - window + torch.arange(3 * window, device=device)
    near = ((query - key).abs() <= window) & (key >= 0) & (key < length)
    return (near | (query >= length))[:, None]
