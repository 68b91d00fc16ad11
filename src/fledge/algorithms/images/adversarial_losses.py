"""What critics and generators minimise, one picture at a time; and the penalties that keep a critic
smooth.

T stands for what the critic says of a picture, p for the data, q for the generator. At its best
critic each loss is a divergence of p and q, which `fledge verify` holds against enumeration (U8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal["nonsaturating", "hinge", "wasserstein", "kl", "reverse_kl", "pearson"]
LOSSES: tuple[AdversarialLoss, ...] = get_args(AdversarialLoss)


def critic_loss(kind: AdversarialLoss, real: Tensor, drawn: Tensor) -> Tensor:
    """[B] and [B], what it says of real pictures and of drawn ones -> [B]

    nonsaturating: −log σ(T) and −log(1 − σ(T)) (Goodfellow et al. 2014, eq. 1): log 4 − 2 JS(p, q)
    at best. hinge: (1 − T)⁺ and (1 + T)⁺ (Lim & Ye 2017): 2 − 2 TV(p, q). wasserstein (Arjovsky et
    al. 2017): −W₁(p, q) over 1-Lipschitz critics. kl, reverse_kl, pearson: −T + f*(T) (f-GAN,
    Nowozin et al. 2016, eq. 5 and table 6): −D_f(p ‖ q).
    """
    if kind == "nonsaturating":
        return F.softplus(-real) + F.softplus(drawn)
    if kind == "hinge":
        return F.relu(1 - real) + F.relu(1 + drawn)
    if kind == "wasserstein":
        return drawn - real
    return dual(kind, drawn) - activate(kind, real)


def generator_loss(kind: AdversarialLoss, drawn: Tensor) -> Tensor:
    """[B] -> [B]. nonsaturating: −log σ(T), whose gradient does not vanish where the critic is sure
    (Goodfellow et al. 2014, §3).
    """
    if kind == "nonsaturating":
        return F.softplus(-drawn)
    return -drawn if kind in ("hinge", "wasserstein") else -dual(kind, drawn)


def activate(kind: AdversarialLoss, value: Tensor) -> Tensor:
    """Into the domain of f*: reverse KL's T is below 0."""
    return -(-value).exp() if kind == "reverse_kl" else value


def dual(kind: AdversarialLoss, value: Tensor) -> Tensor:
    """f*(T) of what `activate` makes of it: of f(u) = u log u; −log u; (u − 1)²."""
    if kind == "kl":
        return (value - 1).exp()
    if kind == "reverse_kl":  # −1 − log(−T), with T = −e^{−v}
        return value - 1
    return value.square() / 4 + value


def slope(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """‖∇_x T(x)‖² of each picture, which can be differentiated again.  [B, …] -> [B]"""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, drawn: Tensor, mix: Tensor
) -> Tensor:
    """(‖∇T‖ − 1)² between a real picture and a drawn one, at x = ε·real + (1 − ε)·drawn (Gulrajani
    et al. 2017, arXiv:1704.00028, eq. 3). mix: [B], ε.  -> [B]
    """
    between = torch.lerp(drawn, real, mix.view(-1, *[1] * (real.ndim - 1)))
    # a root has no derivative at 0, which a critic that says the same of all would meet
    return ((slope(critic, between) + 1e-12).sqrt() - 1).square()
