"""A mixture of categorical distributions: every column is one of a few values, independent of the
others once the component is known (latent class analysis; Bishop 2006, §9.3.3). With two values a
column it is a mixture of Bernoullis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 8_192  # points whose one-hot rows are held at a time


@dataclass(frozen=True)
class DiscreteMixture:
    """Of codes 0, 1, … in every column, NaN where one is missing: it is then summed over.

    weight: π [K]. chance: [K, ΣC], the columns' distributions one behind the other, each C_d wide.
    levels: what the codes of each column stand for, D tuples of C_d.
    """

    weight: Tensor
    chance: Tensor
    levels: tuple[tuple[str, ...], ...]

    @property
    def components(self) -> int:
        """K."""
        return len(self.weight)

    def count_parameters(self) -> int:
        """Free numbers: every distribution sums to 1."""
        return self.components * sum(len(each) - 1 for each in self.levels) + self.components - 1

    def one_hot(self, x: Tensor) -> Tensor:
        """[n, D] -> [n, ΣC], zeros where a value is missing."""
        return one_hot(x, self.levels)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z = k).  [n, D] -> [n, K]"""
        tiny = torch.finfo(self.chance.dtype).tiny  # 0 · log 0 would be no number
        log_chance = self.chance.clamp_min(tiny).log()
        return self.one_hot(x) @ log_chance.T + self.weight.clamp_min(tiny).log()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x).  [N, D] -> [N]"""
        return torch.cat([self.log_joint(part).logsumexp(1) for part in x.split(BLOCK)])

    def responsibility(self, x: Tensor) -> Tensor:
        """p(z = k | x).  [N, D] -> [N, K]"""
        return torch.cat([self.log_joint(part).softmax(1) for part in x.split(BLOCK)])

    def predict(self, x: Tensor) -> Tensor:
        """The component that a point is likeliest of.  [N, D] -> [N]"""
        return torch.cat([self.log_joint(part).argmax(1) for part in x.split(BLOCK)])

    def sample(self, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Codes, and the component that each point is of.  -> [N, D], [N]"""
        component = torch.multinomial(self.weight, points, replacement=True, generator=generator)
        columns, start = [], 0
        for each in self.levels:
            chance = self.chance[component, start : start + len(each)]
            columns.append(torch.multinomial(chance, 1, generator=generator)[:, 0])
            start += len(each)
        return torch.stack(columns, 1).double(), component

    def card(self) -> dict[str, Any]:
        return {"model": "categorical", "levels": [list(each) for each in self.levels]}

    def tensors(self) -> dict[str, Tensor]:
        named = {"weight": self.weight, "chance": self.chance}
        return {name: each.contiguous().clone() for name, each in named.items()}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> DiscreteMixture:
        levels = tuple(tuple(each) for each in card["levels"])
        return cls(tensors["weight"], tensors["chance"], levels)


def one_hot(x: Tensor, levels: tuple[tuple[str, ...], ...]) -> Tensor:
    """Codes as ones among zeros, column behind column.  [n, D] -> [n, ΣC]"""
    sizes = torch.tensor([len(each) for each in levels])
    start = sizes.cumsum(0) - sizes
    seen = ~x.isnan()
    rows = torch.zeros(len(x), int(sizes.sum()), dtype=torch.float64)
    n, d = seen.nonzero(as_tuple=True)
    rows[n, start[d] + x[n, d].long()] = 1
    return rows
