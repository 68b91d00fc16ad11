"""Several models of one shape made into one, weight by weight, without training.

    average           Σ_i w_i θ_i, Σ w_i = 1                            (Wortsman et al. 2022)
    task arithmetic   θ_0 + λ Σ_i w_i (θ_i − θ_0)                       (Ilharco et al. 2023)
    TIES              as that, of differences that are trimmed to the largest, and where they agree
                      with the sign of their sum                        (Yadav et al. 2023)
    SLERP             along the great circle between two weights        (Shoemake 1985)

All is computed in float64 and rounded once: with all weight on one model it is that model, bit for
bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
PARALLEL = 1e-6  # of the angle between two weights: below, the straight line is as good


def average(models: Sequence[Weights], shares: Sequence[float]) -> dict[str, Tensor]:
    """shares: of each model; they sum to 1."""
    return {
        name: _round(_sum([m[name] for m in models], shares), like)
        for name, like in models[0].items()
    }


def add_tasks(
    base: Weights, models: Sequence[Weights], shares: Sequence[float], scale: float = 1.0
) -> dict[str, Tensor]:
    """Task arithmetic."""
    merged = {}
    for name, like in base.items():
        moves = [model[name].double() - like.double() for model in models]
        merged[name] = _round(like.double() + scale * _sum(moves, shares), like)
    return merged


def add_agreeing(
    base: Weights, models: Sequence[Weights], shares: Sequence[float], scale: float = 1.0,
    keep: float = 0.2,
) -> dict[str, Tensor]:  # fmt: skip
    """TIES. keep: of each weight's numbers, those that moved most (the paper trims all weights of a
    model together); the mean is over the models whose move has the elected sign.
    """
    merged = {}
    for name, like in base.items():
        moves = torch.stack([_trim(m[name].double() - like.double(), keep) for m in models])
        share = torch.tensor(shares, dtype=torch.float64).view(-1, *[1] * like.dim())
        sign = (share * moves).sum(0).sign()
        agrees = (moves.sign() == sign) & (moves != 0)
        weight = (share * agrees).sum(0)
        mean = (share * moves * agrees).sum(0) / weight.where(weight > 0, torch.ones_like(weight))
        merged[name] = _round(like.double() + scale * mean, like)
    return merged


def go_along_circle(first: Weights, second: Weights, share: float) -> dict[str, Tensor]:
    """SLERP: sin((1 − t) Ω) / sin Ω · a + sin(t Ω) / sin Ω · b, Ω the angle between a and b, weight
    by weight.
    """
    merged = {}
    for name, like in first.items():
        a, b = like.double(), second[name].double()
        size = float(a.norm() * b.norm())
        cosine = max(-1.0, min(1.0, float((a * b).sum()) / size)) if size else 1.0
        angle = math.acos(cosine)
        if angle < PARALLEL or math.pi - angle < PARALLEL:
            merged[name] = _round((1 - share) * a + share * b, like)
            continue
        left = math.sin((1 - share) * angle) / math.sin(angle)
        right = math.sin(share * angle) / math.sin(angle)
        merged[name] = _round(left * a + right * b, like)
    return merged


def _trim(move: Tensor, keep: float) -> Tensor:
    """Without all but the largest numbers."""
    kept = max(1, math.ceil(keep * move.numel()))
    if kept >= move.numel():
        return move
    least = move.abs().flatten().kthvalue(move.numel() - kept + 1).values
    return move.where(move.abs() >= least, torch.zeros_like(move))


def _sum(weights: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """What has no share is not looked at: 0 · ∞ would be no number."""
    parts = [s * w.double() for s, w in zip(shares, weights, strict=True) if s]
    return torch.stack(parts).sum(0) if parts else torch.zeros_like(weights[0].double())


def _round(weight: Tensor, like: Tensor) -> Tensor:
    return weight.to(like.dtype)
