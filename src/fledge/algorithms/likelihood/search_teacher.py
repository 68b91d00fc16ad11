"""Search as a teacher: imitate what a search over tokens came back to, token by token.

sample: a Monte Carlo tree search from each prompt.  score: what its rollouts earn.  weigh: visit
shares; they stand as the rewards of the rows' steps.  fit: nll, Σ over the tree's edges of
N(edge)/N(root)·(−log π), mean over prompts: in expectation what AlphaZero's loss of its policy is
on episodes drawn by visit shares (Silver et al. 2017, eq. 1). There is no value network: a leaf is
worth what the policy's own answer from there earns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.settings import AlgorithmSettings
from fledge.fit import nll, total
from fledge.learner import Learner
from fledge.policy import TokenPolicy
from fledge.score.scoring import groups, use_trainer_logp
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled, Trajectories


class SearchTeacher:
    gradient_claim = "biased: it imitates the search, and does not climb the reward"

    class Settings(AlgorithmSettings):
        """Of a search over tokens whose visits are imitated."""

        simulations: int = Field(
            default=32, ge=2, description="answers that the search draws to each prompt"
        )
        width: int = Field(
            default=8, ge=1, description="likeliest tokens that it tries after a beginning"
        )
        leaves: int = Field(
            default=4,
            ge=1,
            description="answers drawn side by side, before what they earn is known",
        )
        exploration: float = Field(
            default=1.25,
            ge=0,
            le=1e6,
            description="how much the policy's probabilities count beside what came back",
        )
        target: Literal["visits", "soft"] = Field(
            default="visits",
            description="visits: their shares; soft: the optimum of E[reward] − teacher_beta·KL as "
            "far as the tree knows it",
        )
        teacher_beta: float = Field(
            default=0.1, gt=0, le=1e6, description="soft: reward lost per nat from the policy"
        )

    unfinished = None

    def __init__(
        self,
        policy: TokenPolicy,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
    ) -> None:
        """settings: of the search, which the sampler makes."""
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or SearchTeacher.Settings()

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. The rewards of chosen steps are shares; rows of a group are the
        branches of one prompt's tree.
        """
        batch = batch.to(self.learner.device)
        with self.stopwatch.phase("score"):
            samples, figures = use_trainer_logp(self.policy, batch, self.learner)
        prompts = self.learner.count(mark_groups(batch))

        def loss(part: Sampled) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp = self.policy.log_prob(part.obs, part.action, part.chosen)
            return total(nll(logp, part.reward), part.chosen, prompts), {}

        with self.stopwatch.phase("fit"):
            return figures | self.learner.step(loss, samples)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def mark_groups(batch: Trajectories) -> Tensor:
    """True at one row of every group.  -> [B]"""
    group = groups(batch)
    order = group.argsort(stable=True)
    first = torch.ones_like(group, dtype=torch.bool)
    first[order[1:]] = group[order[1:]] != group[order[:-1]]
    return first
