"""Mean and spread of all numbers that have come so far, part of the network that is fed by them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST = 1e-6  # a spread below this is none: the number is always the same


class RunningScale(nn.Module):
    """Counted exactly, from nothing (Chan et al. 1979, eq. 2.1b): a learned world's changes are far
    smaller than 1, so that no guess at them may come first, as in `actor_critic.Encoder`.
    """

    mean: Tensor
    variance: Tensor
    spread: Tensor  # [width], 1 for what has never changed: kept, for it is asked at every step
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def count_in(self, x: Tensor) -> None:
        """[N, width]"""
        if not len(x):
            return
        n, mean, variance = len(x), x.double().mean(0), x.double().var(0, correction=0)
        whole = self.count + n
        away = mean - self.mean
        squares = self.variance * self.count + variance * n + away.square() * self.count * n / whole
        self.mean.copy_(self.mean + away * (n / whole))
        self.variance.copy_(squares / whole)
        self.count.copy_(whole)
        spread = self.variance.sqrt()
        self.spread.copy_(torch.where(spread > SMALLEST, spread, 1.0))

    def scale(self, x: Tensor) -> Tensor:
        """[..., width] -> the same, in spreads from the mean"""
        return (x - self.mean) / self.spread

    def unscale(self, x: Tensor) -> Tensor:
        """[..., width] -> the same, in its own units"""
        return torch.addcmul(self.mean, x, self.spread)
