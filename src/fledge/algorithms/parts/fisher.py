"""The diagonal of the Fisher information: how much each weight matters to what a network says.

F̄_ii = 1/n Σ_n (∂ log p(y_n | x_n) / ∂θ_i)², the mean over examples of squared gradients
(Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"). With y of the
data it is the empirical Fisher; with y drawn from the model it would be the information proper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

Weights = dict[str, Tensor]
LogProb = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(network, x [B, …], y [B, …]) -> log p(y | x) of each example.  [B]"""


def measure_fisher(
    network: nn.Module, log_prob: LogProb, batches: Iterable[tuple[Tensor, Tensor]]
) -> Weights:
    """Of every weight that is trained, in its shape; the gradients of a batch's examples side by
    side. Raises ValueError for no example.
    """
    weights = {name: w.detach() for name, w in network.named_parameters() if w.requires_grad}
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    number = 0

    def one(given: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        said = _Called(network, given)
        return log_prob(said, x[None], y[None])[0]

    gradient = vmap(grad(one), in_dims=(None, 0, 0))
    # The fused attention of a CPU has no form for many sets of weights: it would go one by one.
    with sdpa_kernel(SDPBackend.MATH):
        for x, y in batches:
            for name, each in gradient(weights, x, y).items():
                total[name] += (each**2).sum(0)
            number += len(x)
    if not number:
        raise ValueError("no example was given: the Fisher information is a mean over one or more.")
    return {name: each / number for name, each in total.items()}


class _Called(nn.Module):
    """The network with other weights in the place of its own."""

    def __init__(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._call = lambda *x: functional_call(network, dict(weights), x)

    def forward(self, *x: Tensor) -> Tensor:
        return self._call(*x)
