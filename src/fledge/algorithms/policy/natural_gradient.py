"""The policy takes a step of its own, without AdamW: θ ← θ + α·F⁻¹∇J, steepest ascent where
distance is the KL between policies.

sample: policy.  score: reward.  weigh: GAE, whitened.  fit: one policy step a batch, then the
critic by regression through the Learner. Kakade 2002, "A Natural Policy Gradient": F = E[∇log π
∇log πᵀ], with damping on its diagonal.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.fisher_vector_product import (
    FisherVectorProduct,
    conjugate_gradient,
    policy_parameters,
)
from fledge.algorithms.parts.judged import Judged
from fledge.algorithms.parts.minibatches import Minibatches
from fledge.algorithms.settings import WorldPasses
from fledge.errors import Diverged
from fledge.fit import total, value_error
from fledge.learner import Learner
from fledge.models.control.actor_critic import ActorCritic
from fledge.score.rollout_figures import check_drift, drift, sampled_entropy
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.weigh import explained_variance, gae, whiten


class PolicyStep(Protocol):
    """How far to go along a natural gradient. Another algorithm is another one of these."""

    def __call__(
        self, near: FisherVectorProduct, direction: Tensor, damping: float
    ) -> dict[str, float]:
        """Moves the policy along direction [P], or leaves it as it was.  -> policy_gain, policy_kl
        and more
        """
        ...


@dataclass(frozen=True)
class FixedRate:
    """θ ← θ + rate·F⁻¹∇J, whatever comes of it."""

    rate: float = 0.05

    def __call__(
        self, near: FisherVectorProduct, direction: Tensor, damping: float
    ) -> dict[str, float]:
        near.move(self.rate * direction)
        gain, kl = near.measure()
        return {"policy_gain": gain, "policy_kl": kl}


class StepSettings(WorldPasses):
    """Of a policy step of one's own; updates and epochs are the critic's."""

    gamma: float = Field(default=0.99, ge=0, le=1, description="discount per step")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="of the advantage estimation")
    whiten_advantage: bool = Field(default=True, description="over all steps of the batch")
    damping: float = Field(default=0.1, ge=0, description="added to the Fisher matrix's diagonal")
    solver_steps: int = Field(default=10, ge=1, description="of conjugate gradient")

    @abstractmethod
    def step(self) -> PolicyStep:
        """How far it goes along the natural gradient."""


class NaturalGradient:
    """Of an `ActorCritic` of any head. The learner is the critic's alone:
    `Learner(actor_critic.critic, …)`.
    """

    class Settings(StepSettings):
        """Of the natural policy gradient."""

        natural_rate: float = Field(default=0.05, gt=0, description="of the policy's step")

        def step(self) -> PolicyStep:
            return FixedRate(self.natural_rate)

    def __init__(
        self,
        actor_critic: ActorCritic,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: StepSettings | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        """generator: of the order in which the critic sees the rows. Raises ValueError for a
        learner of the policy's parameters.
        """
        mine = {id(p) for p in policy_parameters(actor_critic)}
        if any(id(p) in mine for p in learner.parameters):
            raise ValueError(
                "the learner was given parameters of the policy, which takes steps of its own "
                "here: give it `actor_critic.critic`."
            )
        self.actor_critic, self.learner, self.stopwatch = actor_critic, learner, stopwatch
        self.settings = settings or NaturalGradient.Settings()
        self.step = self.settings.step()
        self.minibatches = Minibatches(*self.settings.count_updates(), generator, kind=Judged)

    @property
    def unfinished(self) -> Judged | None:
        """Steps [N, 1] that the policy has learned from and the critic has not done with."""
        return self.minibatches.batch

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """The policy's step, then the critic's. loss, grad_norm, learning_rate: the critic's, means
        over its steps.

        Raises UserError where the gradient is no number, or the samples are another policy's; the
        policy is then as it was.
        """
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                weighed, figures = self.weigh(batch.to(self.learner.device))
            steps = weighed.as_steps()
            with self.stopwatch.phase("fit"):
                figures |= self.improve(steps)
            self.minibatches.begin(steps, figures)
        with self.stopwatch.phase("fit"):
            return self.minibatches.run(self.fit_critic, between_steps)

    @torch.no_grad()
    def weigh(self, batch: Trajectories) -> tuple[Judged, dict[str, float]]:
        """With the advantage of every step as its `weight` and the critic's `target`, both [B,
        T].
        """
        s, ends = self.settings, (batch.chosen, batch.terminated, batch.truncated)
        value = self.actor_critic.value(batch.obs)  # [B, T+1]
        advantage, target = gae(batch.reward, value, *ends, s.gamma, s.gae_lambda)
        figures = {"explained_variance": explained_variance(value[:, :-1], target, batch.chosen)}
        if batch.logp is not None:
            logp = self.actor_critic.log_prob(batch.obs, batch.action, batch.chosen)
            figures["drift"] = float(drift(logp, batch, self.learner.count(batch.chosen)))
            figures["entropy"] = sampled_entropy(batch.logp, batch.chosen, self.learner)
            check_drift(figures["drift"])
        if s.whiten_advantage:
            advantage = whiten(advantage, batch.chosen)
        return Judged.of(batch, weight=advantage, target=target), figures

    def improve(self, steps: Judged) -> dict[str, float]:
        """The policy's step, from weighed steps [N, 1]."""
        s, near = self.settings, FisherVectorProduct(self.actor_critic, steps, self.learner)
        gradient = near.gradient()
        direction = conjugate_gradient(
            lambda v: near.product(v, s.damping), gradient, s.solver_steps
        )
        if not bool(direction.isfinite().all()):
            raise Diverged(
                f"the policy's gradient is {float(gradient.norm()):.4g} and its natural gradient "
                f"{float(direction.norm()):.4g}: training cannot go on from here. The last "
                "checkpoint is intact; try a higher `damping`."
            )
        figures = self.step(near, direction, s.damping)
        if not all(map(math.isfinite, figures.values())):
            near.move_back()
            raise Diverged(
                "a step along the policy's natural gradient, of norm "
                f"{float(direction.norm()):.4g}, led to weights that cannot be computed with: "
                "training cannot go on from here. The last checkpoint is intact; try a lower "
                "`natural_rate`, or trpo."
            )
        return {"policy_grad_norm": float(gradient.norm()), **figures}

    def fit_critic(self, steps: Judged) -> dict[str, float]:
        """One optimizer step on ½(V − R̂)², over steps [N, 1]."""
        count = self.learner.count(steps.chosen)

        def loss(rows: Judged) -> tuple[Tensor, Mapping[str, Tensor]]:
            value = self.actor_critic.value(rows.obs[:, :-1])  # [N, 1]
            return total(value_error(value, rows.target), rows.chosen, count), {}

        return self.learner.step(loss, steps)

    def state_dict(self) -> dict[str, Any]:
        parts = {
            "learner": self.learner,
            "actor_critic": self.actor_critic,
            "minibatches": self.minibatches,
        }
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        parts = {
            "learner": self.learner,
            "actor_critic": self.actor_critic,
            "minibatches": self.minibatches,
        }
        for name, part in parts.items():
            part.load_state_dict(state[name])
