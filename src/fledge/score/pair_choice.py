"""Which two answers to ask a person about next? What the posterior of a linear reward says of each
pair (algorithms/likelihood/bradley_terry.py).

The lead g = w · d of a pair is normal, so that what an answer tells is an integral over a line,
here by Gauss–Hermite quadrature and without draws. BALD: Houlsby, Huszár, Ghahramani & Lengyel
2011, eq. 2; several at a time so that they do not repeat each other: after Kirsch, van Amersfoort
& Gal 2019 (BatchBALD), by the normal posterior.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PAIR_METHODS = ("random", "uncertainty", "bald", "batch_bald")
NODES = 40  # of the quadrature: exact to 1e-6 nats where a lead's deviation is below 5


def entropy(p: Tensor) -> Tensor:
    """H of a yes that has chance p, in nats."""
    return -torch.special.xlogy(p, p) - torch.special.xlogy(1 - p, 1 - p)


def average_chances(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """E σ(g) and E H[σ(g)] over g ~ N(mean, variance).  [N], [N] -> [N], [N]"""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    z = torch.as_tensor(nodes, dtype=mean.dtype)
    share = torch.as_tensor(weights / weights.sum(), dtype=mean.dtype)
    p = (mean[:, None] + variance.clamp(min=0).sqrt()[:, None] * z).sigmoid()
    return p @ share, entropy(p) @ share


def pair_bald(mean: Tensor, variance: Tensor) -> Tensor:
    """I[answer; w] = H[E p] − E H[p], in nats, of leads g ~ N(mean, variance).  [N], [N] -> [N]"""
    p, left = average_chances(mean, variance)
    return (entropy(p) - left).clamp(min=0)


def choose_pairs(
    method: str, d: Tensor, mean: Tensor, covariance: Tensor, asked: Tensor, count: int,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """`count` pairs of the pool d [N, D] that nobody was asked about. mean [D], covariance [D, D]:
    of the reward's weights. asked: [n] long.  -> [count] long, the most telling first
    """
    if method == "random":
        scores = torch.rand(len(d), dtype=d.dtype, generator=generator)
    else:
        lead, shown = d @ mean, d @ covariance  # [N], [N, D]
        variance = (shown * d).sum(-1)
        if method == "batch_bald":
            return choose_together(d, lead, variance, covariance, asked, count)
        if method == "uncertainty":
            scores = entropy(average_chances(lead, variance)[0])
        else:
            scores = pair_bald(lead, variance)
    scores[asked] = -torch.inf
    return scores.topk(count).indices


def choose_together(
    d: Tensor, lead: Tensor, variance: Tensor, covariance: Tensor, asked: Tensor, count: int
) -> Tensor:
    """One after the other by BALD, each time as if the ones before had been answered: their
    curvature p(1 − p) is added to the posterior's precision, which no answer changes but for where
    its mean lies, and is taken off every variance.  -> [count] long
    """
    variance, chosen = variance.clone(), []
    taken: list[Tensor] = []  # columns [D] u with covariance − Σ u uᵀ what is left of it
    for _ in range(count):
        scores = pair_bald(lead, variance)
        scores[asked] = -torch.inf
        scores[chosen] = -torch.inf
        best = int(scores.argmax())
        chosen.append(best)
        p, _ = average_chances(lead[best, None], variance[best, None])
        curve = float(p * (1 - p))
        column = covariance @ d[best]
        for u in taken:
            column = column - u * (u @ d[best])
        # Sherman & Morrison: (Σ⁻¹ + c d dᵀ)⁻¹ = Σ − c Σd (Σd)ᵀ / (1 + c dᵀΣd)
        taken.append(column * (curve / (1 + curve * float(d[best] @ column))) ** 0.5)
        variance = (variance - (d @ taken[-1]).square()).clamp(min=0)
    return torch.tensor(chosen, dtype=torch.long)
