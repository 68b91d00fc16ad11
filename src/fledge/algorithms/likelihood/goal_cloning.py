"""Learn how to get anywhere from having got somewhere: what was done on the way to s_T was right
for whoever wants to be at s_T.

sample: policy, told goals at random.  score: –.  weigh: 1.  fit: nll of log π(a|s, g), g the place
that was reached in the end. Ghosh et al. 2021 (GCSL) and, from an expert's episodes, Ding et al.
2019, which take g from all places reached later on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.algorithms.parts.minibatches import LabelledSettings, Minibatches
from fledge.errors import UserError
from fledge.learner import Learner
from fledge.models.control.actor_critic import ActorCritic
from fledge.sample.labelled import Labelled
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Box, Choices, Space

Relabel = Literal["final", "future"]


def add_goal(observation: Space, goal: Space) -> Space:
    """The space of an observation with a goal beside it, as `join_goal` makes them: what the policy
    is to be made for.

    Raises UserError where one is numbers and the other choices.
    """
    if isinstance(observation, Choices) and isinstance(goal, Choices):
        return Choices(observation.sizes + goal.sizes)
    if isinstance(observation, Box) and isinstance(goal, Box):
        both = ((x.low.flatten().float(), x.high.flatten().float()) for x in (observation, goal))
        low, high = zip(*both, strict=True)
        return Box(torch.cat(low), torch.cat(high))
    raise UserError(
        f"observations are {type(observation).__name__} and goals {type(goal).__name__}: a goal is "
        "to be what an observation is; give a `goal_of` that keeps its kind."
    )


def join_goal(obs: Tensor, goal: Tensor) -> Tensor:
    """[n, *O], [n, *G] -> [n, O + G], one row of numbers for each"""
    return torch.cat([obs.reshape(len(obs), -1), goal.reshape(len(goal), -1)], -1)


def pick_reached(batch: Trajectories, relabel: Relabel, generator: torch.Generator) -> Tensor:
    """Of every step, the place in `obs` that it is taken to have been headed for.  -> [B, T], each
    in 1…T

    final: the last observation of its episode, or of the row where that runs on. future: any after
    the step up to that one, each as likely as the others. Means nothing where a step was not
    chosen.
    """
    steps = batch.chosen.shape[1]
    ended = (batch.terminated | batch.truncated) & batch.chosen
    place = torch.arange(steps, device=ended.device)
    # The first end at or after each step: the smallest place of an end, seen from the back.
    last = torch.where(ended, place, steps - 1).flip(1).cummin(1).values.flip(1)  # [B, T]
    if relabel == "final":
        return last + 1
    uniform = torch.rand(last.shape, generator=generator, dtype=torch.float64).to(last.device)
    return place + 1 + (uniform * (last - place + 1)).long()


class GoalSeeker:
    """The policy on its way to one goal, the same in all copies."""

    def __init__(self, policy: ActorCritic, goal: Tensor) -> None:
        """goal: [*G]"""
        self.policy, self.goal = policy, goal

    def _join(self, obs: Tensor) -> Tensor:
        return join_goal(obs, self.goal.expand(len(obs), *self.goal.shape))

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[n, *O] -> action [n, *A], log-probability [n]"""
        return self.policy.act(self._join(obs), generator)

    def best(self, obs: Tensor) -> Tensor:
        """[n, *O] -> action [n, *A]"""
        return self.policy.best(self._join(obs))


class Aimed(nn.Module):
    """The policy on its way to where the best-paid row so far came to an end: which goal is worth
    reaching, only the rewards can tell.
    """

    goal: Tensor
    paid: Tensor

    def __init__(self, policy: ActorCritic, goal: Space) -> None:
        super().__init__()
        self.policy = policy
        like = goal.low if isinstance(goal, Box) else torch.zeros(goal.shape, dtype=torch.long)
        self.register_buffer("goal", torch.zeros_like(like))
        self.register_buffer("paid", torch.tensor(-torch.inf))

    def observe(self, goal: Tensor, earned: Tensor) -> None:
        """[B, *G], [B]"""
        best = int(earned.argmax())
        if earned[best] > self.paid:
            self.goal.copy_(goal[best])
            self.paid.copy_(earned[best])

    def best(self, obs: Tensor) -> Tensor:
        """[n, *O] -> action [n, *A]"""
        return GoalSeeker(self.policy, self.goal).best(obs)


class GoalCloning:
    """Acts towards goals drawn anew for each batch, and learns from all it ever did, whatever that
    led to.
    """

    class Settings(LabelledSettings):
        """Of goal-conditioned cloning."""

        relabel: Relabel = Field(
            default="final",
            description=(
                "what a step is taken to have been headed for: where its row ended, or any place "
                "after it, each as likely"
            ),
        )

    def __init__(
        self,
        policy: ActorCritic,
        learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        goals: Callable[[int, torch.Generator], Tensor],
        generator: torch.Generator,
        goal_of: Callable[[Tensor], Tensor] = lambda obs: obs,
        aim: Aimed | None = None,
    ) -> None:
        """policy: made for `with_goals(…)`. goals: n -> [n, *G]. goal_of: what of an observation is
        a goal, [n, *O] -> [n, *G].

        generator: of what is learned from. aim: is told what every row earned.
        """
        self.aim = aim
        self.policy, self.learner, self.stopwatch = policy, learner, stopwatch
        self.settings = settings or GoalCloning.Settings()
        self.goals, self.goal_of, self.generator = goals, goal_of, generator
        self.told: Tensor | None = (
            # the goals of this batch [n, *G]; no state, for nothing is saved while a batch is acted
            # out
            None
        )
        self.labelled = Labelled()
        self.minibatches = Minibatches(
            self.settings.updates_per_step, 1, generator, kind=Trajectories
        )
        self.cloning = Supervised(policy, learner, stopwatch)  # pyright: ignore[reportArgumentType]

    @property
    def unfinished(self) -> Trajectories | None:
        """The steps drawn for this update [updates_per_step · rows_per_update, 1]."""
        return self.minibatches.batch

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Towards the goals of this batch.  [n, *O] -> action [n, *A], log-probability [n]"""
        if self.told is None:
            self.told = self.goals(len(obs), generator)
        return self.policy.act(join_goal(obs, self.told), generator)

    def seek(self, goal: Tensor) -> GoalSeeker:
        """[*G]"""
        return GoalSeeker(self.policy, goal)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Keep a batch with where it led, then `updates_per_step` optimizer steps. loss: nats per
        step.
        """
        if self.unfinished is None:
            with self.stopwatch.phase("score"):
                figures = self.label(batch)
            rows = self.minibatches.pieces * self.settings.rows_per_update
            self.minibatches.begin(self.labelled.draw(rows, self.generator), figures)
        return self.minibatches.run(self.cloning.update, between_steps)

    def label(self, batch: Trajectories) -> dict[str, float]:
        """Puts beside every step where it led. The next batch is told other goals."""
        row = torch.arange(len(batch), device=batch.obs.device)[:, None]
        if self.aim is not None:
            end = (
                batch.chosen * torch.arange(1, batch.chosen.shape[1] + 1, device=row.device)
            ).amax(1)  # [B]
            earned = torch.where(batch.chosen, batch.reward, 0.0).sum(1)  # [B]
            # a row in which nobody chose anything led nowhere
            earned = torch.where(end > 0, earned, -torch.inf)
            self.aim.observe(self.goal_of(batch.obs[row[:, 0], end]), earned)
        # [N, *G]
        goal = self.goal_of(
            batch.obs[row, pick_reached(batch, self.settings.relabel, self.generator)][batch.chosen]
        )
        self.labelled.add(
            join_goal(batch.obs[:, :-1][batch.chosen], goal), batch.action[batch.chosen]
        )
        self.told = None
        return {"labelled": float(len(self.labelled))}

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {
            "learner": self.learner,
            "labelled": self.labelled,
            "minibatches": self.minibatches,
        }
        return parts if self.aim is None else parts | {"aim": self.aim}
