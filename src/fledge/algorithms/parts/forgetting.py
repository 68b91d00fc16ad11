"""Remedies against forgetting, for any network that learns tasks in turn: each adds to the loss of
the new task, and looks back when a task ends.

    EWC         λ/2 Σ_i F̄_ii (θ_i − θ*_i)²; online: F̄ ← γ F̄ + F̄ of the task (Schwarz et al. 2018)
    L2-SP       the same with F̄ = 1 (Li et al. 2018)
    rehearsal   examples of earlier tasks beside the new ones (Robins 1995)
    LwF         λ KL(p_old(· | x) ‖ p(· | x)) on the new task's inputs (Li & Hoiem 2016)
    adapters    a task's own low-rank matrices beside frozen ones (Hu et al. 2022)
"""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fledge.algorithms.parts.fisher import LogProb, Weights, measure_fisher
from fledge.models.language.adapters import LoRA, Target, adapt_network, merge_adapters

Examples = tuple[Tensor, Tensor]


class Remedy(Protocol):
    """begin_task: the network that learns the next task, of the one that learned the last, and what
    its learning rate is multiplied by. penalty: added to the mean loss of a step on inputs x. mix:
    the examples of a step. end_task: told what a task was learned from. answering: the network that
    is asked about a task, of those that have ended.
    """

    def begin_task(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[nn.Module, float]: ...
    def penalty(self, network: nn.Module, x: Tensor) -> Tensor: ...
    def mix(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Examples: ...
    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None: ...
    def answering(self, network: nn.Module, task: int) -> nn.Module: ...


class Plain:
    """No remedy: fine-tuning."""

    def begin_task(self, network: nn.Module, generator: torch.Generator) -> tuple[nn.Module, float]:
        return network, 1.0

    def penalty(self, network: nn.Module, x: Tensor) -> Tensor:
        return x.new_zeros((), dtype=torch.float32)

    def mix(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Examples:
        return x, y

    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        """Nothing is kept."""

    def answering(self, network: nn.Module, task: int) -> nn.Module:
        """The one network there is."""
        return network


class Anchored(Plain):
    """A square around the weights of the last task. Without `log_prob` all weights count alike
    (L2-SP).

    strength: λ. keep: γ, of the weights' importance for tasks before. examples: of a task, that
        their importance is measured on.
    """

    def __init__(
        self, strength: float, log_prob: LogProb | None = None, keep: float = 1.0,
        examples: int = 512, at_a_time: int = 64,
    ) -> None:  # fmt: skip
        self.strength, self.log_prob, self.keep = strength, log_prob, keep
        self.examples, self.at_a_time = examples, at_a_time
        self.anchor: Weights = {}
        self.importance: Weights = {}

    def penalty(self, network: nn.Module, x: Tensor) -> Tensor:
        total = x.new_zeros((), dtype=torch.float32)
        if not self.anchor:
            return total
        for name, weight in network.named_parameters():
            if name in self.anchor:
                gap = (weight - self.anchor[name]) ** 2
                total = total + (self.importance[name] * gap).sum()
        return self.strength / 2 * total

    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        trained = {n: w.detach() for n, w in network.named_parameters() if w.requires_grad}
        self.anchor = {name: weight.clone() for name, weight in trained.items()}
        if self.log_prob is None:
            self.importance = {name: torch.ones_like(weight) for name, weight in trained.items()}
            return
        x, y = x[: self.examples], y[: self.examples]
        parts = [(x[a : a + self.at_a_time], y[a : a + self.at_a_time])
                 for a in range(0, len(x), self.at_a_time)]  # fmt: skip
        new = measure_fisher(network, self.log_prob, parts)
        if self.importance:
            new = {name: self.keep * self.importance[name] + each for name, each in new.items()}
        self.importance = new


class Rehearsal(Plain):
    """So many examples of each earlier task are kept; as many as a step has are drawn of them and
    stand beside it.
    """

    def __init__(self, examples: int = 128) -> None:
        self.examples = examples
        self.kept: list[Examples] = []

    def mix(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Examples:
        if not self.kept:
            return x, y
        old_x, old_y = (torch.cat(each) for each in zip(*self.kept, strict=True))
        drawn = torch.randint(len(old_x), (len(x),), generator=generator)
        return torch.cat([x, old_x[drawn]]), torch.cat([y, old_y[drawn]])

    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        self.kept.append((x[: self.examples], y[: self.examples]))


class Remembered(Plain):
    """Learning without forgetting: what the network said before this task is what it should go on
    saying, on the inputs of this one.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.old: nn.Module | None = None

    def penalty(self, network: nn.Module, x: Tensor) -> Tensor:
        if self.old is None:
            return super().penalty(network, x)
        with torch.no_grad():
            before = functional.log_softmax(self.old(x).float(), -1)
        now = functional.log_softmax(network(x).float(), -1)
        nats = functional.kl_div(now, before, reduction="none", log_target=True).sum(-1)
        return self.strength * nats.mean()

    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        self.old = copy.deepcopy(network).requires_grad_(False)


class Adapters(Plain):
    """The first task is learned whole; each later one by LoRA on every linear layer.

    merged: into the weights when a task ends, and the next begins there: one network that needs not
    be told the task. Otherwise each task keeps its own beside the first's weights: nothing is
    forgotten, and who asks must say which task it is. rate: of the adapters, over the network's.
    """

    def __init__(self, rank: int, rate: float, *, merged: bool) -> None:
        self.settings, self.rate, self.merged = LoRA(rank, 2.0 * rank), rate, merged
        self.ended: list[nn.Module] = []

    def begin_task(self, network: nn.Module, generator: torch.Generator) -> tuple[nn.Module, float]:
        if not self.ended:
            return network, 1.0
        fresh = copy.deepcopy(network if self.merged else self.ended[0])
        layers = {n: m for n, m in fresh.named_modules() if isinstance(m, nn.Linear)}
        chosen = {n: [Target(n, 0, m.out_features)] for n, m in layers.items()}
        adapt_network(fresh, chosen, settings=self.settings, generator=generator)
        return fresh, self.rate

    def end_task(self, network: nn.Module, x: Tensor, y: Tensor) -> None:
        if self.merged and self.ended:
            merge_adapters(network)
        self.ended.append(network)

    def answering(self, network: nn.Module, task: int) -> nn.Module:
        return network if self.merged else self.ended[task]
