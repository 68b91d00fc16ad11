"""How much of a label stands in numbers that were learned without it: a linear probe by ridge
regression in closed form, and the vote of nearest neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PENALTIES = tuple(10.0**n for n in range(-4, 5))
NEIGHBOURS, SHARPNESS = 20, 0.07  # of the vote (Wu et al. 2018, arXiv:1805.01978, §3.4)


def probe_linearly(x: Tensor, label: Tensor, asked: Tensor) -> Tensor:
    """The class with the highest of K linear functions, each fitted to 1 where its class is and 0
    elsewhere.  [N, D], [N], [M, D] -> [M]

    W minimises ‖Y − XW‖² + λ‖W‖², numbers standardised and nothing penalised of the mean; of
    several λ the one with the least squared error where each row is left out, in closed form
    (Allen 1974): e_i / (1 − h_ii), h the diagonal of X (XᵀX + λ)⁻¹ Xᵀ + 1/N.
    """
    x, asked = x.double(), asked.double()
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 1e-9, spread, torch.ones_like(spread))
    x, asked = (x - mean) / spread, (asked - mean) / spread
    target = F.one_hot(label, int(label.max()) + 1).double()
    middle = target.mean(0)
    value, vector = torch.linalg.eigh(x.T @ x)
    value, turned = value.clamp(min=0), x @ vector
    moment = turned.T @ (target - middle)
    least, weight = float("inf"), torch.zeros_like(moment)
    for penalty in PENALTIES:
        shrunk = 1 / (value + penalty)
        fitted = shrunk[:, None] * moment
        leverage = (turned**2) @ shrunk + 1 / len(x)
        error = (target - middle - turned @ fitted) / (1 - leverage).clamp(min=1e-9)[:, None]
        if float((error**2).mean()) < least:
            least, weight = float((error**2).mean()), vector @ fitted
    return (asked @ weight + middle).argmax(1)


def vote_of_neighbours(x: Tensor, label: Tensor, asked: Tensor) -> Tensor:
    """The class for which the 20 most alike rows speak loudest, each with exp(cos / 0.07), means
    taken away first.  [N, D], [N], [M, D] -> [M]
    """
    mean = x.mean(0)
    near = F.normalize(asked - mean, dim=1) @ F.normalize(x - mean, dim=1).T
    likeness, place = near.topk(min(NEIGHBOURS, len(x)), 1)
    votes = likeness.new_zeros(len(asked), int(label.max()) + 1)
    return votes.scatter_add(1, label[place], (likeness / SHARPNESS).exp()).argmax(1)
