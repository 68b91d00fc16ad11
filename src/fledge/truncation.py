"""Which tokens top-k and the nucleus keep, found without putting the vocabulary in order.

A sort of 262,144 numbers costs 27 ms a row on a CPU, more than a step of a small model. The largest
few hundred are found in two passes, and most nuclei end among them; where one ends later, its least
probability is searched for by halving. Both sets are those of a stable sort: of equally likely
tokens the ones with the lowest numbers are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRESELECTED = 256  # tokens that are put in order
STRIDE = 32  # numbers that share a peak
TOGETHER = 2**19  # numbers that are gone over again and again, and fit the processor's cache


def find_largest(x: Tensor, n: int) -> Tensor:
    """The n largest numbers of each row, largest first.  [N, V] -> [N, n]

    Of every STRIDE numbers the largest is their peak. Under the n highest peaks lie n numbers that
    are no smaller than the n-th peak, and every number that is larger than it.
    """
    v = x.shape[-1]
    peaks = v // STRIDE
    if peaks <= 2 * n:
        return x.topk(n, dim=-1).values
    # Numbers of one peak lie far apart: that way the largest of them is found in whole vectors.
    columns = x[:, : peaks * STRIDE].unflatten(-1, (STRIDE, peaks))  # [N, STRIDE, peaks]
    highest = columns.amax(1).topk(n, dim=-1, sorted=False).indices  # [N, n]
    under = columns.gather(2, highest[:, None].expand(-1, STRIDE, -1)).flatten(1)
    return torch.cat([under, x[:, peaks * STRIDE :]], -1).topk(n, dim=-1).values


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k most likely tokens.  [N, V] -> [N, V] bool"""
    if k >= logits.shape[-1]:
        return torch.ones_like(logits, dtype=torch.bool)
    least = find_largest(logits, k)[:, -1:]
    return _keep_first(logits, least, torch.full_like(least, k, dtype=torch.long))


def keep_nucleus(p: Tensor, mass: float) -> Tensor:
    """The smallest set of most likely tokens whose mass reaches `mass` (Holtzman et al. 2020,
    eq. 2): those before which, in order of p, there is less than it.  [N, V] -> [N, V] bool
    """
    n = min(PRESELECTED, p.shape[-1])
    ordered = find_largest(p, n)
    # How many belong to it, one at least: what is before them counts, not their own mass.
    count = (ordered.cumsum(-1) - ordered < mass).sum(-1, keepdim=True).clamp_(min=1)
    kept = _keep_first(p, ordered.gather(-1, count - 1), count)
    # A nucleus that fills all that was put in order may be larger.
    rest = (count[:, 0] == n).nonzero()[:, 0] if n < p.shape[-1] else count[:0, 0]
    for rows in rest.split(max(1, TOGETHER // p.shape[-1])):
        kept[rows] = _search_nucleus(p[rows], mass)
    return kept


def _search_nucleus(p: Tensor, mass: float) -> Tensor:
    """By the largest probability so that what is no less likely has the mass.  [N, V] -> [N, V]
    bool
    """
    whole = torch.int64 if p.dtype == torch.float64 else torch.int32
    p = p if p.dtype == torch.float64 else p.float()
    # Positive numbers are in the order of their bits, so that halving ends with neighbours.
    low = torch.zeros(len(p), 1, dtype=whole, device=p.device)
    high = p.amax(-1, keepdim=True).view(whole) + 1
    while bool((high - low > 1).any()):
        middle = low + (high - low) // 2
        enough = p.where(p >= middle.view(p.dtype), 0.0).sum(-1, keepdim=True) >= mass
        low, high = middle.where(enough, low), high.where(enough, middle)
    least = low.view(p.dtype)
    likelier = p > least
    missing = mass - p.where(likelier, 0.0).sum(-1, keepdim=True)
    equal = (missing / least).ceil().clamp_(min=1, max=p.shape[-1])  # how many of the last ones
    return _keep_first(p, least, likelier.sum(-1, keepdim=True) + equal.nan_to_num_().long())


def _keep_first(x: Tensor, least: Tensor, count: Tensor) -> Tensor:
    """The `count` largest numbers of each row, the last of which is `least`; of several that are
    equal to it the first.  [N, V], [N, 1], [N, 1] -> [N, V] bool
    """
    kept = x >= least
    tied = (kept.sum(-1, keepdim=True) > count)[:, 0].nonzero()[:, 0]
    if len(tied):  # in bfloat16 often: equal logits are common there
        more, equal = x[tied] > least[tied], x[tied] == least[tied]
        open_places = count[tied] - more.sum(-1, keepdim=True)
        kept[tied] = more | (equal & (equal.cumsum(-1) <= open_places))
    return kept
