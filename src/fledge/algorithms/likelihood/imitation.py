"""Do as the expert does: behavioural cloning where the expert goes, DAgger where the learner goes.

sample: β·expert + (1 − β)·policy.  score: the expert says what it would have done.  weigh: 1.  fit:
nll, on all steps labelled so far: DAgger's aggregated data set, here `Labelled`. Ross, Gordon &
Bagnell 2011, algorithm 3.1. On trajectories that an expert has left behind, behavioural cloning is
`Supervised` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.parts.minibatches import LabelledSettings, Minibatches
from fledge.learner import Learner
from fledge.models.control.actor_critic import ActorCritic
from fledge.sample.labelled import Labelled
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class Expert(Protocol):
    """Whoever knows what to do: a person's rule, a search, a policy trained before."""

    @property
    def best(self) -> Callable[[Tensor], Tensor]:
        """[n, *O] -> action [n, *A]"""
        ...


class DAgger:
    """Acts, is told by the expert what would have been right at every step it took, and learns from
    all it was ever told.

    Of batch i, counted from 0, the expert takes a share of decay^i of the steps, at random. Decay 0
    is the version without a parameter: the expert acts in the first batch and never again.
    """

    class Settings(LabelledSettings):
        """Of imitation."""

        decay: float = Field(
            default=0.0,
            ge=0,
            le=1,
            description="the expert takes a share of decay^i of the steps of batch i, from 0 on",
        )

    def __init__(
        self,
        policy: ActorCritic,
        expert: Expert,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        """generator: of what is learned from."""
        self.policy, self.expert, self.learner, self.stopwatch = policy, expert, learner, stopwatch
        self.settings = settings or DAgger.Settings()
        self.generator = generator
        self.labelled = Labelled()
        self.batches = 0  # that were labelled
        self.minibatches = Minibatches(
            self.settings.updates_per_step, 1, generator, kind=Trajectories
        )
        self.cloning = Supervised(policy, learner, stopwatch)  # pyright: ignore[reportArgumentType]

    @property
    def unfinished(self) -> Trajectories | None:
        """The steps drawn for this update [updates_per_step · rows_per_update, 1]."""
        return self.minibatches.batch

    @property
    def expert_share(self) -> float:
        """β of the batch that is acted out next."""
        return self.settings.decay**self.batches

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """The expert or the policy, by lot for each copy.  [n, *O] -> action [n, *A], and no
        log-probability
        """
        own, _ = self.policy.act(obs, generator)
        if self.expert_share == 0:
            return own, None
        lot = torch.rand(len(obs), generator=generator).to(obs.device) < self.expert_share  # [n]
        return torch.where(
            lot.view(-1, *[1] * (own.ndim - 1)), self.expert.best(obs).to(own.dtype), own
        ), None

    def best(self, obs: Tensor) -> Tensor:
        """What the policy finds likeliest.  [n, *O] -> [n, *A]"""
        return self.policy.best(obs)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Label a batch, then `updates_per_step` optimizer steps.

        disagreement: where the batch went, the share of steps at which the policy would have done
        something else than the expert; of real numbers, the root of the mean squared difference of
        their parts. loss: nats per step.
        """
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                figures = self.label(batch)
            rows = self.minibatches.pieces * self.settings.rows_per_update
            self.minibatches.begin(self.labelled.draw(rows, self.generator), figures)
        return self.minibatches.run(self.cloning.update, between_steps)

    @torch.no_grad()
    def label(self, batch: Trajectories) -> dict[str, float]:
        """Asks the expert about every step that was taken, and keeps what it says."""
        obs = batch.obs[:, :-1][batch.chosen]  # [N, *O]
        right, own = self.expert.best(obs), self.policy.best(obs)
        wrong = (
            (own - right).square()
            if own.is_floating_point()
            else (own != right).view(len(obs), -1).any(1)
        )
        figures = {"expert_share": self.expert_share}
        if wrong.numel():  # where nobody did anything, nobody agreed
            mean = wrong.double().mean()
            figures["disagreement"] = float(mean.sqrt() if own.is_floating_point() else mean)
        self.labelled.add(obs, right)
        self.batches += 1
        return figures | {"labelled": float(len(self.labelled))}

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "labelled": self.labelled.state_dict(),
            "batches": self.batches,
            "minibatches": self.minibatches.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.labelled.load_state_dict(state["labelled"])
        self.batches = state["batches"]
        self.minibatches.load_state_dict(state["minibatches"])


# Pomerleau 1989: only the expert ever acts.
CLONING = DAgger.Settings(decay=1.0)
