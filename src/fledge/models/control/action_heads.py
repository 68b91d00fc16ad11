"""From a network's numbers to a distribution over actions: one choice, several choices at once, or
a diagonal Gaussian.

Each head is formulas without state: `numbers` [N, size] come from a network. Sums over the parts of
an action are taken here, so that every log-probability is that of the whole action.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from fledge.log_prob import draw
from fledge.worlds.world import Box, Choices, Space

LOG_2PI = math.log(2 * math.pi)


class ActionHead(Protocol):
    size: int  # how many numbers it wants

    def sample(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """[N, size] -> action [N, *A]"""
        ...

    def mode(self, numbers: Tensor) -> Tensor:
        """The likeliest action.  [N, size] -> [N, *A]"""
        ...

    def log_prob(self, numbers: Tensor, action: Tensor) -> Tensor:
        """[N, size], [N, *A] -> [N]"""
        ...

    def entropy(self, numbers: Tensor) -> Tensor:
        """Nats.  [N, size] -> [N]"""
        ...

    def kl(self, numbers: Tensor, other: Tensor) -> Tensor:
        """KL(this‖other).  [N, size], [N, size] -> [N]"""
        ...


class OneChoice:
    """A categorical distribution; the numbers are logits."""

    def __init__(self, choices: int) -> None:
        self.size = choices

    def sample(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(len(numbers), generator=generator).to(numbers.device)
        return draw(numbers, uniform)[0]

    def mode(self, numbers: Tensor) -> Tensor:
        return numbers.argmax(-1)

    def log_prob(self, numbers: Tensor, action: Tensor) -> Tensor:
        return numbers.log_softmax(-1).gather(-1, action[:, None]).squeeze(-1)

    def entropy(self, numbers: Tensor) -> Tensor:
        logp = numbers.log_softmax(-1)
        return -(logp.exp() * logp).sum(-1)

    def kl(self, numbers: Tensor, other: Tensor) -> Tensor:
        logp = numbers.log_softmax(-1)
        return (logp.exp() * (logp - other.log_softmax(-1))).sum(-1)


class SeveralChoices:
    """Independent categorical distributions, one for each part of the action; the numbers are their
    logits side by side.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes, self.size = list(sizes), sum(sizes)
        self.parts = [OneChoice(n) for n in sizes]

    def sample(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        each = zip(self.parts, numbers.split(self.sizes, -1), strict=True)
        return torch.stack([part.sample(own, generator) for part, own in each], -1)

    def mode(self, numbers: Tensor) -> Tensor:
        return torch.stack([own.argmax(-1) for own in numbers.split(self.sizes, -1)], -1)

    def log_prob(self, numbers: Tensor, action: Tensor) -> Tensor:
        each = zip(self.parts, numbers.split(self.sizes, -1), action.unbind(-1), strict=True)
        return torch.stack([part.log_prob(own, done) for part, own, done in each]).sum(0)

    def entropy(self, numbers: Tensor) -> Tensor:
        each = zip(self.parts, numbers.split(self.sizes, -1), strict=True)
        return torch.stack([part.entropy(own) for part, own in each]).sum(0)

    def kl(self, numbers: Tensor, other: Tensor) -> Tensor:
        each = zip(
            self.parts, numbers.split(self.sizes, -1), other.split(self.sizes, -1), strict=True
        )
        return torch.stack([part.kl(own, theirs) for part, own, theirs in each]).sum(0)


class DiagonalGaussian:
    """Independent normal distributions; the numbers are the means, then the logarithms of the
    standard deviations.

    Means, spreads, log-probabilities and entropies are in the units that the world is told in: of
    its bounds, −1 to 1, after `worlds.units`. An action is not cut to the bounds: the world's side
    does that, and the log-probability is of what was drawn.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.size = 2 * math.prod(shape)

    def sample(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_std = numbers.chunk(2, -1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        return torch.addcmul(mean, log_std.exp(), noise).view(-1, *self.shape)

    def mode(self, numbers: Tensor) -> Tensor:
        return numbers.chunk(2, -1)[0].reshape(-1, *self.shape)

    def log_prob(self, numbers: Tensor, action: Tensor) -> Tensor:
        mean, log_std = numbers.chunk(2, -1)
        away = (action.reshape(mean.shape) - mean) * (-log_std).exp()
        return (-0.5 * away.square() - log_std).sum(-1) - 0.5 * LOG_2PI * mean.shape[-1]

    def entropy(self, numbers: Tensor) -> Tensor:
        log_std = numbers.chunk(2, -1)[1]
        return (log_std + 0.5 * (1 + LOG_2PI)).sum(-1)

    def kl(self, numbers: Tensor, other: Tensor) -> Tensor:
        (mean, log_std), (mean_2, log_std_2) = numbers.chunk(2, -1), other.chunk(2, -1)
        squares = (2 * log_std).exp() + (mean - mean_2).square()
        return (log_std_2 - log_std + 0.5 * squares * (-2 * log_std_2).exp() - 0.5).sum(-1)


def head_for(action: Space) -> ActionHead:
    """The head of a world's actions."""
    if isinstance(action, Box):
        return DiagonalGaussian(action.shape)
    assert isinstance(action, Choices)
    return OneChoice(action.sizes[0]) if len(action.sizes) == 1 else SeveralChoices(action.sizes)
