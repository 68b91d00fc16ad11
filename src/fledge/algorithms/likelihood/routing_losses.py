"""What keeps experts in use: two losses of a router, and a bias that no gradient moves."""

from __future__ import annotations

import torch
from torch import Tensor


def balance_loss(chosen: Tensor, score: Tensor) -> Tensor:
    """E Σ_e f_e P_e: 1 where all experts are chosen equally often and scored equally high, more
    where those that are chosen often are scored high (Fedus et al. 2022, eq. 4–6; Lepikhin et al.
    2021, algorithm 1).

    chosen: f, each expert's share of all choices, which has no gradient. score: P, the mean over
    tokens of the router's scores, which add up to 1.  [..., E] twice -> [...]
    """
    return chosen.shape[-1] * (chosen.detach() * score).sum(-1)


def router_z_loss(logits: Tensor) -> Tensor:
    """(log Σ_e exp x_e)²: large logits lose digits (Zoph et al. 2022, eq. 5).  [N, E] -> [N]"""
    return logits.logsumexp(-1).square()


def correct_bias(bias: Tensor, load: Tensor, rate: float) -> Tensor:
    """b_e + rate · sign(mean load − load_e): what is chosen less than its share becomes easier to
    choose (Wang et al. 2024, algorithm 1; DeepSeek-AI 2024, §2.1.2).  [E] twice -> [E]
    """
    return bias + rate * torch.sign(load.mean() - load).to(bias)
