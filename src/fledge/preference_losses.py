"""Losses of preferences without a reward model, per answer [B]: two answers to one prompt, and how
much likelier than under the reference each has become. Pure tensors, as in fit.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.fit import pairwise_logistic


def dpo(preferred_ratio: Tensor, rejected_ratio: Tensor, beta: float) -> Tensor:
    """−log σ(β·log π/π_ref(y_w) − β·log π/π_ref(y_l)) (Rafailov et al. 2023, eq. 7).  [B], [B] ->
    [B]
    """
    return pairwise_logistic(beta * preferred_ratio, beta * rejected_ratio)


def ipo(preferred_ratio: Tensor, rejected_ratio: Tensor, beta: float) -> Tensor:
    """(log π/π_ref(y_w) − log π/π_ref(y_l) − 1/(2β))², the source's τ being β (Azar et al. 2024,
    eq. 17).  [B], [B] -> [B]
    """
    return (preferred_ratio - rejected_ratio - 1 / (2 * beta)) ** 2


def simpo(preferred_mean: Tensor, rejected_mean: Tensor, beta: float, margin: float) -> Tensor:
    """−log σ(β·log π(y_w)/|y_w| − β·log π(y_l)/|y_l| − γ), γ the margin (Meng et al. 2024, eq. 6).
    [B], [B] -> [B]
    """
    return pairwise_logistic(beta * preferred_mean, beta * rejected_mean, margin)


def log_odds(mean_logp: Tensor) -> Tensor:
    """log p/(1 − p), p = exp(mean log-probability of a token) (Hong et al. 2024, eqs. 3 and 4).
    [B] -> [B]

    Held below p = 1 − 1e-6: an answer learned by heart would have infinite odds.
    """
    mean_logp = mean_logp.clamp(max=-1e-6)
    return mean_logp - (-torch.expm1(mean_logp)).log()


def odds_ratio(preferred_mean: Tensor, rejected_mean: Tensor) -> Tensor:
    """−log σ(log odds(y_w) − log odds(y_l)) (Hong et al. 2024, eq. 7).  [B], [B] -> [B]"""
    return pairwise_logistic(log_odds(preferred_mean), log_odds(rejected_mean))


def kto(
    log_ratio: Tensor,
    desirable: Tensor,
    anchor: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """λ_y − v(x, y): λ_D·(1 − σ(β(r − z₀))) for what is wanted, λ_U·(1 − σ(β(z₀ − r))) for what is
    not, r = log π/π_ref.

    Ethayarajh et al. 2024, eq. 8. anchor: z₀ [], a constant here.  [B], [B] bool -> [B]
    """
    gain = beta * (log_ratio - anchor)
    # 1 − σ(x) = σ(−x)
    return torch.where(
        desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain)
    )
