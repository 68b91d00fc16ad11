"""Logistic regression on the words of a text, hashed into a fixed number of columns; its targets
may be shares of labels.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

COLUMNS = 2**15
_WORD = re.compile(r"\w+|[^\w\s]")


def hash_words(texts: Sequence[str], columns: int = COLUMNS) -> Tensor:
    """1 for each word and each pair of neighbours, a row's length 1.  -> sparse [N, columns]"""
    rows, places, values = [], [], []
    for n, text in enumerate(texts):
        words = _WORD.findall(text.lower())
        pairs = [f"{a} {b}" for a, b in pairwise(words)]
        own = sorted({zlib.crc32(each.encode()) % columns for each in [*words, *pairs]})
        places += own
        values += [max(1, len(own)) ** -0.5] * len(own)  # a text without a word has no 1
        rows += [n] * len(own)
    at = torch.tensor([rows, places], dtype=torch.int64)
    value = torch.tensor(values, dtype=torch.float64)
    size = (len(texts), columns)
    return torch.sparse_coo_tensor(at, value, size, check_invariants=True).coalesce()


def fit_logistic(
    x: Tensor, target: Tensor, weight_decay: float = 3e-4, steps: int = 100
) -> tuple[Tensor, Tensor]:
    """argmin of the mean of −Σ_c target_c log p(c | x), and ½ decay |W|², by L-BFGS.

    x: [N, F], sparse or not. target: shares of labels [N, C].  -> W [F, C], bias [C]
    """
    C = target.shape[1]
    weight = torch.zeros(x.shape[1], C, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(C, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def measure() -> Tensor:
        optimizer.zero_grad()
        log_p = (x @ weight + bias).log_softmax(1)
        loss = -(target * log_p).sum(1).mean() + 0.5 * weight_decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(measure)  # pyright: ignore[reportArgumentType]
    return weight.detach(), bias.detach()
