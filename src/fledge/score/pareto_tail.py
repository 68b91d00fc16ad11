"""How heavy the tail of importance weights is: Pareto's shape k̂, and weights smoothed by it.

Vehtari, Simpson, Gelman, Yao & Gabry 2024. Above 0.7 the weights' mean is not to be relied on, and
the distribution drawn from is poor as a stand-in for the other one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RELIABLE = 0.7


def measure_tail(log_weight: Tensor) -> float:
    """k̂ of the largest weights.  [S], logarithms"""
    return smooth_weights(log_weight)[1]


def smooth_weights(log_weight: Tensor) -> tuple[Tensor, float]:
    """PSIS: the largest M = min(S/5, 3√S) become the expected order statistics of the Pareto fitted
    to them, no larger than the largest was.  [S] -> normalised log-weights [S], k̂
    """
    S = len(log_weight)
    log_weight = log_weight - log_weight.max()
    M = min(S // 5, math.ceil(3 * math.sqrt(S)))
    if M < 5:
        return log_weight - log_weight.logsumexp(0), math.inf
    order = log_weight.argsort()
    cut = log_weight[order[-M - 1]]
    tail = log_weight[order[-M:]].exp() - cut.exp()
    if float(tail[-1]) <= 1e-12:  # all alike
        return log_weight - log_weight.logsumexp(0), -math.inf
    k, sigma = fit_pareto(tail.clamp_min(1e-300))
    smoothed = log_weight.clone()
    if math.isfinite(k):
        place = (torch.arange(M, dtype=log_weight.dtype) + 0.5) / M
        grown = (
            torch.expm1(-k * torch.log1p(-place)) / k if abs(k) > 1e-12 else -torch.log1p(-place)
        )
        smoothed[order[-M:]] = (cut.exp() + sigma * grown).log().clamp_max(0)
    return smoothed - smoothed.logsumexp(0), k


def fit_pareto(x: Tensor) -> tuple[float, float]:
    """Shape k and scale σ of the generalised Pareto, by Zhang & Stephens 2009: a posterior mean
    over a grid; k with the weak prior of ten draws at 0.5 (Vehtari et al. 2024, appendix C).

    x: [M], exceedances in ascending order.
    """
    M = len(x)
    grid = 30 + int(math.sqrt(M))
    j = torch.arange(1, grid + 1, dtype=x.dtype)
    quartile = x[max(0, int(M / 4 + 0.5) - 1)]
    b = (1 - (grid / (j - 0.5)).sqrt()) / (3 * quartile) + 1 / x[-1]
    each = torch.log1p(-b[:, None] * x).mean(1)  # −k of each b, in Zhang & Stephens' sign
    log_likelihood = M * ((b / -each).log() - each - 1)
    weight = (log_likelihood - log_likelihood.logsumexp(0)).exp()
    mean_b = (weight * b).sum()
    k = float(torch.log1p(-mean_b * x).mean())
    sigma = -k / float(mean_b)
    return (k * M + 10 * 0.5) / (M + 10), sigma
