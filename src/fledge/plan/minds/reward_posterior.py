"""Bayesian inverse reinforcement learning: all rewards that explain the demonstrations, each by how
well, by Metropolis–Hastings over the weights of features (Ramachandran & Amir 2007, with the
likelihood of maximum causal entropy).

log p(D | w) = Σ log π_t(a | s; w) over what was done, step by step: where chance has a part in the
world, mean feature counts are not enough, for they hold its accidents too. The prior is normal
around 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.plan.minds.chances import Chances

AIM = 0.234  # of proposals that are taken (Roberts, Gelman & Gilks 1997)


class RewardPosterior:
    """C chains side by side, each a random walk; the first half only finds its way and its stride.

    transition: [1, A, S, S], features [1, S, F], acts [1, T, S, A] how often what was done where at
    each step, over n demonstrations. spread: of the prior. total: steps of a chain. weight: [C, F],
    where they are.
    """

    def __init__(
        self, transition: Tensor, features: Tensor, acts: Tensor, *, chains: int, spread: float,
        total: int, generator: torch.Generator,
    ) -> None:  # fmt: skip
        self.chances, self.features = Chances(transition), features[0]
        self.acts = acts[0].transpose(1, 2)  # [T, A, S]
        self.spread, self.total, self.generator = spread, total, generator
        self.weight = 0.1 * self.draw(chains, self.features.shape[1])
        self.log_density = self.say_log_density(self.weight)
        self.stride, self.taken, self.place = torch.tensor(0.3).double(), 0.0, 0
        self.kept: list[Tensor] = []  # after the first half: [C, F] each

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=self.generator)

    def say_log_density(self, weight: Tensor) -> Tensor:
        """log p(D | w) + log p(w), but for constants.  [C, F] -> [C]"""
        reward = weight @ self.features.T
        value, density = torch.zeros_like(reward), -0.5 * (weight / self.spread).square().sum(-1)
        for acts in self.acts.flip(0):
            q = reward[:, None] + self.chances.spread(value)  # [C, A, S]
            value = q.logsumexp(1)
            density = density + (acts * (q - value[:, None])).sum((1, 2))
        return density

    def update(self) -> float:
        """One step of every chain; the share of proposals that were taken."""
        proposed = self.weight + self.stride * self.draw(*self.weight.shape)
        density = self.say_log_density(proposed)
        uniform = torch.rand(len(density), dtype=torch.float64, generator=self.generator)
        takes = uniform.log() < density - self.log_density
        self.weight = torch.where(takes[:, None], proposed, self.weight)
        self.log_density = torch.where(takes, density, self.log_density)
        self.taken = float(takes.double().mean())
        self.place += 1
        if self.place <= self.total // 2:  # a stride that goes on changing would bend the chain
            self.stride = self.stride * torch.tensor((self.taken - AIM) / 5).double().exp()
        else:
            self.kept.append(self.weight)
        return self.taken

    def gather(self) -> Tensor:
        """What the second halves came by, less the mean over features, which nothing can tell where
        each place has one of them.  -> [n, C, F]
        """
        every = torch.stack(self.kept or [self.weight])
        return every - every.mean(-1, keepdim=True)

    def state_dict(self) -> dict[str, Any]:
        return {
            "weight": self.weight, "log_density": self.log_density, "stride": self.stride,
            "taken": self.taken, "place": self.place, "kept": list(self.kept),
            "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight, self.log_density = state["weight"], state["log_density"]
        self.stride, self.taken, self.place = state["stride"], state["taken"], state["place"]
        self.kept = list(state["kept"])
        self.generator.set_state(state["generator"])
