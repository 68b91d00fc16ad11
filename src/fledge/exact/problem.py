"""What an estimator is put before: a language, a policy over it, a reward, and the true gradient by
enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.exact.enumerable import Language, policy_gradient


@dataclass(frozen=True)
class Problem:
    """A language, a policy, a reward for every sequence: ∇(E[r] − β·KL(π‖π_ref)) is what an
    estimator should find. Float64, CPU.
    """

    language: Language
    logits: Tensor  # [P, V]: the policy
    reward: Tensor  # [S]
    reference: Tensor | None = None  # [P, V]
    beta: float = 0.0
    behaviour: Tensor | None = None  # [P, V]: who sampled, where that was not the policy
    after: Tensor | None = (
        # [P, V]: where an update's first step has brought the policy; it is its second that is
        # asked
        None
    )
    temperature: float = 1.0  # of all that is said

    @property
    def fitted(self) -> Tensor:
        """The table whose gradient is asked.  [P, V]"""
        return self.logits if self.after is None else self.after

    def step_log_prob(self, table: Tensor) -> Tensor:
        """log π(y_t | y_<t) of every step of every sequence as it is said.  [P, V] -> [S, T]"""
        return self.language.step_log_prob(table / self.temperature)

    def log_prob(self, table: Tensor) -> Tensor:
        """[P, V] -> [S]"""
        return self.step_log_prob(table).sum(1)

    def gradient(self) -> Tensor:
        """The true one.  [P, V]"""
        reference = None if self.reference is None else self.log_prob(self.reference)
        said = self.fitted / self.temperature
        return (
            policy_gradient(self.language, said, self.reward, reference, self.beta)
            / self.temperature
        )

    def prob(self) -> Tensor:
        """How often each sequence is sampled.  [S]"""
        return self.log_prob(self.logits if self.behaviour is None else self.behaviour).exp()

    def effective_share(self) -> float:
        """(Σ μ w)² / Σ μ w² with w = π/μ: the effective sample size of the importance weights, as a
        share of the samples.
        """
        policy, behaviour = self.log_prob(self.fitted).exp(), self.prob()
        return float(1 / (policy.square() / behaviour).sum())

    def reinforce_variance(self) -> float:
        """The total variance of ∇log π(y)·(r(y) − β·log π/π_ref), from one sample of the policy."""
        logp = self.log_prob(self.fitted)
        score: Any = torch.autograd.functional.jacobian(self.log_prob, self.fitted)  # [S, P, V]
        worth = self.reward
        if self.reference is not None:
            worth = worth - self.beta * (logp - self.log_prob(self.reference))
        second = (logp.exp() * worth.square() * score.square().sum((1, 2))).sum()
        return float(second - self.gradient().square().sum())


def random_problem(
    language: Language,
    seed: int = 0,
    *,
    beta: float = 0.0,
    off_policy: bool = False,
    second_step: bool = False,
    temperature: float = 1.0,
) -> Problem:
    """Policy, rewards around 2, reference and sampler drawn at random. With β = 0 there is no
    reference.
    """
    random = torch.Generator().manual_seed(seed)

    def table() -> torch.Tensor:
        size = (len(language.prefixes), language.vocabulary)
        return torch.randn(size, dtype=torch.float64, generator=random)

    logits, reference, other = table(), table(), table()
    reward = 2 + torch.randn(len(language.sequences), dtype=torch.float64, generator=random)
    # An actor half as far from the policy as an unrelated one.
    behaviour = logits + 0.5 * (other - logits) if off_policy else None
    # Far enough that ratios are clipped on either side.
    after = logits + 0.7 * table() if second_step else None
    return Problem(
        language, logits, reward, reference if beta else None, beta, behaviour, after, temperature
    )
