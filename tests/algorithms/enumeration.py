"""An algorithm on a language so small that its expected gradient is a sum over every group of
samples there could have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from fledge.exact.enumerable import Language, policy_gradient
from fledge.policy import TokenPolicy
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from tests.subjects import Gradients, TableNetwork, learner, seeded, speak

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


class Enumeration:
    """A random policy over a language as a table, a random reward for every sequence, and one group
    of samples at a time.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        vocabulary: int = 3,
        length: int = 2,
        stop: int | None = 0,
        beta: float = 0.0,
        seed: int = 1,
        off_policy: bool = False,
        reward: Callable[[Tensor], Tensor] = lambda reward: reward,
    ) -> None:
        """off_policy: the samples are another table's. reward: what is made of the random
        numbers.
        """
        self.language = Language(vocabulary, length, stop)
        self.network, reference = (
            TableNetwork(vocabulary, length, seed),
            TableNetwork(vocabulary, length, seed + 1),
        )
        self.reward = reward(
            torch.randn(
                len(self.language.sequences), dtype=torch.float64, generator=seeded(seed + 2)
            )
        )
        self.table = self.network.logits(self.language).detach()
        acting = (
            TableNetwork(vocabulary, length, seed + 3).logits(self.language).detach()
            if off_policy
            else self.table
        )
        self.step_logp = self.language.step_log_prob(acting)
        self.reference = self.language.log_prob(reference.logits(self.language)).detach()
        self.p, self.acting = (
            self.language.log_prob(self.table).exp(),
            self.language.log_prob(acting).exp(),
        )
        # [S, T]
        self.chosen = torch.tensor(
            [[t < len(w) for t in range(length)] for w in self.language.sequences]
        )
        policy = TokenPolicy(self.network)
        fit = learner(policy)
        self.gradients = Gradients(fit)
        frozen = TokenPolicy(reference).frozen_copy() if beta else None
        self.algorithm = make(policy, fit, Stopwatch(), reference=frozen, kl=KLControl(beta))

    def ascent(self, *words: int) -> Tensor:
        """What one update on these sequences, as one group, adds to the table.  [P, V]"""
        group = torch.zeros(len(words), dtype=torch.long)
        self.algorithm.update(
            speak(
                self.language, words, self.language.vocabulary, self.reward, self.step_logp, group
            )
        )
        return -self.gradients.taken[-1][0][:, self.network.row_of(self.language)].T

    def expected(self, size: int = 1) -> Tensor:
        """Over all groups of `size` samples.  [P, V]"""
        total = torch.zeros_like(self.table)
        for words in product(range(len(self.acting)), repeat=size):
            total += math.prod(float(self.acting[i]) for i in words) * self.ascent(*words)
        return total

    def exact(self, beta: float = 0.0) -> Tensor:
        return policy_gradient(self.language, self.table, self.reward, self.reference, beta)

    def pull(self, coefficient: Tensor) -> Tensor:
        """Σ_y Σ_t c(y, t)·∇log π(y_t|y_<t), by the enumeration alone; c [S] is the same at every
        step.  [S] or [S, T] -> [P, V]
        """
        table = self.table.clone().requires_grad_(True)
        steps = self.language.step_log_prob(table) * self.chosen  # [S, T]
        each = coefficient if coefficient.ndim == 2 else coefficient[:, None]
        return torch.autograd.grad((each * steps).sum(), table)[0]


def relative_error(measured: Tensor, exact: Tensor) -> float:
    """‖measured − exact‖ / ‖exact‖: the bias as a number."""
    return float((measured - exact).norm() / exact.norm())


def cosine(measured: Tensor, exact: Tensor) -> float:
    return float((measured * exact).sum() / measured.norm() / exact.norm())
