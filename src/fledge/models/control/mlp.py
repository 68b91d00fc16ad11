"""Perceptrons of several layers with orthogonal weights, as policies and critics over vectors start
from them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fledge.models.control.perceptron_kernel import (
    Weights,
    go_through,
    is_watched_by_none,
    take_weights,
)


class Tanh(nn.Module):
    """tanh x = 2σ(2x) − 1, to 2e-7: on CPUs a quarter of the time of torch's own, which is a third
    of a small network's.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.rsub((2 * x).sigmoid(), -1, alpha=-2)


ACTIVATIONS: dict[type, str] = {Tanh: "tanh", nn.ReLU: "relu"}


class Perceptron(nn.Sequential):
    """Linear layers, and between them one kind of activation, `Tanh` or `nn.ReLU`."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, I] -> [N, O]; small ones by `perceptron_kernel`, to the last digits of float32."""
        form = self.kernel_form(input)
        return super().forward(input) if form is None else go_through(input, *form)

    def kernel_form(self, x: Tensor) -> tuple[Weights, str] | None:
        """Weights and activation as the kernel takes them, where rows [N, I] are its to compute
        with.
        """
        layers: Any = list(self._modules.values())
        kinds = set(map(type, layers[1::2]))
        if (
            len(kinds) != 1
            or len(layers) % 2 == 0
            or not all(map(is_watched_by_none, layers[1::2]))
        ):
            return None
        kind, weights = ACTIVATIONS.get(kinds.pop()), take_weights(x, layers[::2])
        return None if kind is None or weights is None else (weights, kind)


def mlp(
    widths: Sequence[int],
    *,
    generator: torch.Generator,
    activation: type[nn.Module] = Tanh,
    last_gain: float = 1.0,
) -> Perceptron:
    """widths: of the input, the hidden layers and the output. The last layer has no activation.

    Orthogonal matrices of gain √2, `last_gain` for the last, and biases of 0 (Huang et al. 2022,
    "The 37 implementation details of PPO", detail 2: 0.01 for a policy, 1 for a critic).  [N,
    widths[0]] -> [N, widths[-1]]
    """
    layers: list[nn.Module] = []
    for i, (inside, outside) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        layer = nn.Linear(inside, outside)
        nn.init.orthogonal_(layer.weight, last_gain if last else math.sqrt(2), generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, activation()]
    return Perceptron(*layers)
