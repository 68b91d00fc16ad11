"""PSRL: it does not fit `weigh`, because nothing is weighed: a world is drawn out of the posterior,
and acted in as if it were the true one until the next is drawn (Strens 2000; Osband, Russo & Van
Roy 2013, algorithm 1).

sample: the best policy of the world that was drawn.  score, weigh: –.  fit: counts; then policy
iteration in a new draw after an episode, or where a pair has been tried twice as often as at the
last draw, which worlds without ends need (Ouyang et al. 2017, algorithm 1). No gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.action_table import ActionTable
from fledge.algorithms.settings import AlgorithmSettings
from fledge.models.control.counted_world import CountedWorld, Prior
from fledge.plan.bellman import action_values
from fledge.plan.policy_iteration import policy_iteration
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


class PosteriorSampling:
    """Acts by the world that was drawn; plays by the mean of the posterior, whose Q is the table.

    State: the table, the counts, the policy of the drawn world, the visits at its draw, and the
    generator. A new world is drawn between batches only: short batches follow the paper.
    """

    gradient_claim = "no policy gradient: a policy solved for in a drawn world"

    class Settings(AlgorithmSettings):
        """Of posterior sampling."""

        gamma: float = Field(default=0.99, ge=0, lt=1, description="discount per step")
        prior_chances: float = Field(
            default=1.0,
            gt=0,
            description="pseudo-counts of each state and action, over all that may follow",
        )
        prior_reward: float = Field(
            default=0.0, description="what a step pays on average, before it was tried, in reward"
        )
        prior_spread: float = Field(
            default=1.0, gt=0, description="how far that may be off, a standard deviation"
        )
        reward_noise: float = Field(
            default=0.1,
            gt=0,
            description="of one payment around its average, a standard deviation in reward",
        )

        @property
        def prior(self) -> Prior:
            return Prior(
                self.prior_chances, self.prior_reward, self.prior_spread, self.reward_noise
            )

    def __init__(
        self,
        table: ActionTable,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        self.settings = settings or PosteriorSampling.Settings()
        self.table, self.stopwatch, self.generator = table, stopwatch, generator
        self.world = CountedWorld(*table.q.shape)
        self.drawn = 0  # worlds
        self._draw()

    @property
    def unfinished(self) -> None:
        """An update has no middle."""
        return None

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """The best action of the drawn world; its own chance is in the draw.  [n, *O] -> [n]"""
        return self.plan[self.table.states(obs)], None

    def best(self, obs: Tensor) -> Tensor:
        """By the mean of the posterior.  [n, *O] -> [n]"""
        return self.table.best(obs)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Count every chosen step; then a new world, if it is time for one."""
        with self.stopwatch.phase("fit"):
            states = self.table.states(batch.obs)
            chosen, actions = batch.chosen, self.table.q.shape[1]
            pair = states[:, :-1] * actions + batch.action
            after = torch.where(batch.terminated, self.world.end, states[:, 1:])
            seen = (x[chosen].tolist() for x in (pair, batch.reward, after))
            for step in zip(*seen, strict=True):
                self.world.see(*step)
            self.table.visits.view(-1).index_add_(
                0, pair[chosen], torch.ones(int(chosen.sum()), dtype=torch.long)
            )
            self.table.taught += int(chosen.sum())
            over = bool(((batch.terminated | batch.truncated) & chosen).any())
            doubled = bool((self.table.visits > 2 * self.visits_then.clamp(min=0.5)).any())
            if over or doubled:
                self._draw()
        return {
            "worlds_drawn": float(self.drawn),
            "seen_pairs": float((self.table.visits > 0).double().mean()),
        }

    def _draw(self) -> None:
        """A world, and the best policies there and in the mean of the posterior."""
        s, states = self.settings, self.world.states
        world = self.world.draw(s.prior, s.gamma, self.generator)
        self.plan = policy_iteration(world).policy[:states]
        mean = self.world.expect(s.prior, s.gamma)
        self.table.q.copy_(action_values(mean, policy_iteration(mean).value)[:states])
        self.visits_then = self.table.visits.clone()
        self.drawn += 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "table": self.table.state_dict(),
            "world": self.world.state_dict(),
            "plan": self.plan,
            "visits_then": self.visits_then,
            "drawn": self.drawn,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.table.load_state_dict(state["table"])
        self.world.load_state_dict(state["world"])
        self.plan, self.visits_then = state["plan"], state["visits_then"]
        self.drawn = state["drawn"]
        self.generator.set_state(state["generator"])
