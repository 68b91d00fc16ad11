"""Points with missing values, grouped by which values are there, and what the others are expected
to be.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def each_pattern(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows that lack the same values, and which values they have.  [N, D] -> [n] of int64,
    [D] of bool
    """
    seen, number = (~x.isnan()).unique(dim=0, return_inverse=True)
    for each in range(len(seen)):
        yield (number == each).nonzero().flatten(), seen[each]


def complete(x: Tensor, seen: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """E[x | what is seen] and Cov[x | what is seen] under N(mean, covariance), the covariance the
    same for all rows of a pattern (Ghahramani & Jordan 1994, eqs. 20–22; Little & Rubin 2002,
    §11.2).

    x: [n, D], NaN where it is missing. covariance: [D, D].  -> [n, D], [D, D]
    """
    filled, spread = x.clone(), torch.zeros_like(covariance)
    lost = ~seen
    if not bool(lost.any()):
        return filled, spread
    across = covariance[lost][:, seen]  # [m, o]
    gain = torch.linalg.solve(covariance[seen][:, seen], across.T).T  # [m, o]
    filled[:, lost] = mean[lost] + (x[:, seen] - mean[seen]) @ gain.T
    left = covariance[lost][:, lost] - gain @ across.T
    place = lost.nonzero().flatten()
    spread[place[:, None], place] = (left + left.T) / 2
    return filled, spread
