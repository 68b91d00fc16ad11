"""Which places a place attends to: all before it, or few of them (Child et al. 2019,
arXiv:1904.10509, §4.2 and §4.3). Of a sparse pattern every other head has one half.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Pattern = Literal["full", "strided", "fixed"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def attention_mask(pattern: Pattern, length: int, heads: int, stride: int, summary: int) -> Tensor:
    """Of every head whether place i (rows) attends to place j (columns).  -> [heads, D, D] bool

    strided: the last `stride` places, and every stride-th before. fixed: the present block of
    `stride` places, and the last `summary` ones of every block. A place always attends to itself.
    """
    i, j = torch.arange(length)[:, None], torch.arange(length)
    causal = j <= i
    if pattern == "full":
        return causal.expand(heads, -1, -1)
    if pattern == "strided":
        halves = (causal & (i - j < stride), causal & ((i - j) % stride == 0))
    else:
        summarised = causal & (j % stride >= stride - summary)
        halves = (causal & (i // stride == j // stride), summarised | (i == j))
    return torch.stack([halves[head % 2] for head in range(heads)])
