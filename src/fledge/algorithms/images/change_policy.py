"""Which changes help: a distribution over ways to change a picture, learned with the model that is
taught by changed pictures.

Augmentation is maximum likelihood under q(x) = E over data x* of a kernel k(x | x*); here k is a
mixture of changes, and its weights are learned so that a step on changed pictures lowers the loss
on pictures that were not taught (Hu et al. 2019, arXiv:1910.12795, §4; Ren et al. 2018,
arXiv:1803.09050, eq. 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from fledge.images.augment import CHANGES, Change, augment


class ChangePolicy:
    """Weights over `none` and the changes named: softmax of logits, begun equal."""

    def __init__(self, changes: tuple[Change, ...], rate: float) -> None:
        self.changes = tuple(each for each in CHANGES if each in changes)
        self.logits = torch.zeros(len(self.changes) + 1)
        self.rate = rate

    @property
    def weights(self) -> Tensor:
        """Of none, then of each change.  [K]"""
        return self.logits.softmax(0)

    def named(self) -> dict[str, float]:
        return {
            f"weight_{name}": float(weight)
            for name, weight in zip(("none", *self.changes), self.weights, strict=True)
        }

    def change(self, x: Tensor, levels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each picture in one way.  -> [B, C, H, W] uint8, and which way [B]"""
        drawn = torch.multinomial(self.weights, len(x), replacement=True, generator=generator)
        changed = x
        for number, name in enumerate(self.changes, 1):
            other = augment(x, (name,), levels, generator)
            changed = torch.where((drawn == number).view(-1, 1, 1, 1), other, changed)
        return changed, drawn

    def learn(self, drawn: Tensor, worth: Tensor) -> None:
        """A step of REINFORCE up the mean worth, in units of its deviation.  drawn, worth: [B]

        ∇ log w_k = e_k − w; the mean worth is the baseline.
        """
        deviation = worth.std()
        if not bool(deviation > 0):
            return
        advantage = (worth - worth.mean()) / deviation
        counts = torch.zeros_like(self.logits).index_add(0, drawn, advantage.float())
        self.logits += self.rate * (counts - counts.sum() * self.weights) / len(drawn)

    def state_dict(self) -> dict[str, Tensor]:
        return {"logits": self.logits}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.logits = state["logits"].clone()


def measure_worth(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    taught: tuple[Tensor, Tensor],
    steering: tuple[Tensor, Tensor],
) -> Tensor:
    """By how much a small step down the loss of each taught picture lowers the mean loss of the
    steering ones, a unit of the step: ∇ℓ_i · ∇L.  (x, label) twice -> [B]

    loss: (x, label) -> [B], of the network. All products come out of one pass, as the derivative of
    the taught losses along ∇L.
    """
    weights = {name: p.detach() for name, p in network.named_parameters()}
    with torch.enable_grad():
        total = loss(*steering).mean()
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        gradients = torch.autograd.grad(total, [p for _, p in named], allow_unused=True)
    along = {name: torch.zeros_like(w) for name, w in weights.items()}
    for (name, _), gradient in zip(named, gradients, strict=True):
        if gradient is not None:
            along[name] = gradient

    def at(values: dict[str, Tensor]) -> Tensor:
        return functional_call(_Asked(network, loss), _prefixed(values), taught)

    return jvp(at, (weights,), (along,))[1].detach()


class _Asked(nn.Module):
    """A loss of a network as a module, whose weights `functional_call` can put in place."""

    def __init__(self, network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.loss(x, label)


def _prefixed(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": value for name, value in values.items()}
