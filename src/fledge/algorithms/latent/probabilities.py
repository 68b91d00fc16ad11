"""Expected counts made probabilities, none of which ever becomes 0: what has no probability can
never be learned again, and has a log-likelihood of −∞ the first time that it is met.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-12


def share_out(count: Tensor, previous: Tensor) -> Tensor:
    """argmax_p Σ count log p, under p ≥ `LEAST` wherever `previous` is above 0, and 0 elsewhere.
    [R, V], rows of distributions -> the same; a row without a count keeps what it was

    Those below it are raised to it and the rest is shared by the others, until none is below: the
    maximum under a constraint that the previous p met, so that EM still never lowers the
    likelihood.
    """
    total = count.sum(1, keepdim=True)
    counted = total > 0
    p = torch.where(counted, count / torch.where(counted, total, 1.0), previous)
    allowed = previous > 0
    raised = torch.zeros_like(allowed)
    while True:
        low = (p < LEAST) & allowed & ~raised & counted
        if not bool(low.any()):
            return torch.where(allowed, p, torch.zeros_like(p))
        raised |= low
        rest = torch.where(raised, 0.0, count)
        left = 1 - LEAST * raised.sum(1, keepdim=True).double()
        shared = rest / rest.sum(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny) * left
        p = torch.where(raised, torch.full_like(p, LEAST), torch.where(counted, shared, p))
