"""Precision and recall of samples (Kynkäänniemi et al. 2019, arXiv:1904.06991): how much of what is
drawn looks real, and how much of what is real could have been drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3  # the paper's k


def precision_and_recall(
    real: Tensor, drawn: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Precision: the share of what is drawn inside of the real manifold, the balls around real
    points that reach to their k-th nearest; recall: the same with the sides exchanged (eqs. 1 and
    2).  [N, F], [M, F]; both of more than k
    """
    across = torch.cdist(drawn, real)
    precision = (across <= measure_radii(real, neighbours)).any(1).double().mean()
    recall = (measure_radii(drawn, neighbours) >= across.T).any(1).double().mean()
    return float(precision), float(recall)


def measure_radii(x: Tensor, neighbours: int) -> Tensor:
    """Of each point how far its k-th nearest other is.  [N, F] -> [N]"""
    apart = torch.cdist(x, x)
    apart.fill_diagonal_(-1.0)  # itself is the first, whatever rounding makes of its distance
    return apart.kthvalue(neighbours + 1, dim=1).values
