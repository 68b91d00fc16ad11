"""Which tokens top-k and the nucleus keep, found without putting the vocabulary in order.

A sort of 262,144 numbers costs 27 ms a row on a CPU, more than a step of a small model. The largest
few hundred are found in two passes, and most nuclei end among them; where one ends later, only
probabilities like its least one are put in order. Both sets are those of a stable sort: of equally
likely tokens the ones with the lowest numbers are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRESELECTED = 256  # tokens that are put in order
STRIDE = 32  # numbers that share a peak


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
    for row in (count[:, 0] == n).nonzero()[:, 0].tolist() if n < p.shape[-1] else ():
        kept[row] = _find_large_nucleus(p[row], mass)
    return kept


def _find_large_nucleus(p: Tensor, mass: float) -> Tensor:
    """Probabilities are put into buckets of like size, and only those in the bucket where the mass
    is reached are put in order.  [V] -> [V] bool
    """
    # Positive numbers are in the order of their bits: the exponent, and 7 bits that follow it.
    bucket = p.float().view(torch.int32) >> 16
    held = torch.bincount(bucket, weights=p.double())
    above = held.flip(0).cumsum(0).flip(0) - held  # the mass of all buckets of larger ones
    last = int((above < mass).nonzero()[0])
    kept = bucket > last
    here = (bucket == last).nonzero()[:, 0]
    ordered, order = p[here].double().sort(descending=True, stable=True)
    kept[here[order[above[last] + ordered.cumsum(0) - ordered < mass]]] = True
    return kept


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
