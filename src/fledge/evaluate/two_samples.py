"""The classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545): whether a network that
is taught to tell two sets apart does better than chance on what it was not taught.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN, STEPS, RATE, DECAY = 64, 300, 0.02, 1e-3


@dataclass(frozen=True)
class TwoSamples:
    """accuracy: on `tested` points that were not learned from. low, high: between what it lies in
    19 of 20 tests of two sets that come from one distribution.
    """

    accuracy: float
    low: float
    high: float
    tested: int

    @property
    def differ(self) -> bool:
        return self.accuracy > self.high


def tell_apart(a: Tensor, b: Tensor, seed: int = 0) -> TwoSamples:
    """Of as many of either as the smaller set has, half to learn from.  [N, F], [M, F], 4 or more

    The network is one hidden layer, taught by Adam on all points at once, of a start of its own:
    the same sets give the same figure.
    """
    generator = torch.Generator().manual_seed(seed)
    half = min(len(a), len(b)) // 2
    sides = [x[torch.randperm(len(x), generator=generator)[: 2 * half]] for x in (a, b)]
    label = torch.tensor([0.0, 1.0]).repeat_interleave(half)
    learned, tested = (
        torch.cat([x[part] for x in sides]).float()
        for part in (slice(None, half), slice(half, None))
    )
    mean, deviation = learned.mean(0), learned.std(0).clamp(min=1e-6)
    learned, tested = ((x - mean) / deviation for x in (learned, tested))
    network = teach(learned, label, generator)
    with torch.no_grad():
        right = ((network(tested)[:, 0] > 0) == (label > 0.5)).sum()
    low, high = chance_interval(2 * half)
    return TwoSamples(float(right) / (2 * half), low, high, 2 * half)


def teach(x: Tensor, label: Tensor, generator: torch.Generator) -> nn.Module:
    sizes = ((x.shape[1], HIDDEN), (HIDDEN, 1))
    first, last = (nn.utils.skip_init(nn.Linear, *size) for size in sizes)
    for layer in (first, last):
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    network = nn.Sequential(first, nn.SiLU(), last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    with torch.enable_grad():
        for _ in range(STEPS):
            loss = F.binary_cross_entropy_with_logits(network(x)[:, 0], label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def chance_interval(number: int, outside: float = 0.05) -> tuple[float, float]:
    """The shares of heads of a fair coin thrown so often, without `outside` / 2 of the mass at
    either end, exactly: what is above or below them has less than that probability.
    """
    below, tail = 0.0, outside / 2
    for heads in range(number + 1):
        below += math.exp(
            math.lgamma(number + 1) - math.lgamma(heads + 1) - math.lgamma(number - heads + 1)
            - number * math.log(2)
        )  # fmt: skip
        if below > tail:
            return heads / number, (number - heads) / number
    raise AssertionError("the tails of a fair coin are less than half")
