"""Trajectories that are whole episodes: every copy of a world begins anew, acts until its episode
ends, and waits for the others.

For estimators that want the return of what an action began (REINFORCE), and for judging a policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.sample.episodes import Actor, cut_share
from fledge.seeds import generator_for, seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.units import bounds_of, check_bounds
from fledge.worlds.world import World

LONGEST = 100_000  # steps: a world whose episodes never end has no whole ones


class WholeEpisodes:
    """Endless batches of one episode a copy, padded on the right to the longest.

    State: the generator; and how many steps were taken, which tells the starts of one batch from
    those of another.
    """

    def __init__(
        self,
        world: World,
        actor: Actor,
        stopwatch: Stopwatch,
        *,
        seed: int,
        longest: int = LONGEST,
    ) -> None:
        """longest: steps after which an episode that goes on is an error."""
        self.world, self.actor, self.stopwatch, self.longest = world, actor, stopwatch, longest
        self.seed, self.generator = seed, generator_for(seed, "actor")
        self.figures: dict[str, float] = {}
        self.taken = 0

    @torch.no_grad()
    def __next__(self) -> Trajectories:
        """Raises UserError for an episode that does not end."""
        with self.stopwatch.phase("sample"):
            seen = self.world.reset(seed_for(self.seed, "worlds", self.taken))
            over = torch.zeros(self.world.copies, dtype=torch.bool)
            obs, steps = [seen], []
            while not over.all():
                if len(steps) == self.longest:
                    raise UserError(
                        f"an episode of {self.world.name} went on after {self.longest:,} steps: "
                        "evaluations, and algorithms that learn from returns, want episodes that "
                        "end. Give the world a time limit, as gymnasium's `max_episode_steps` does."
                    )
                action, logp = self.actor.act(seen, self.generator)
                after = self.world.step(action)
                live = ~over
                steps.append((action, logp, live, after.reward, after.terminated, after.truncated))
                seen, over = after.obs, over | after.terminated | after.truncated
                obs.append(seen)
            action, logp, chosen, reward, terminated, truncated = zip(*steps, strict=True)
            live = torch.stack(chosen, 1)
            rows = Trajectories(
                torch.stack(obs, 1),
                torch.stack(action, 1),
                live,
                torch.stack(reward, 1) * live,
                torch.stack(terminated, 1) & live,
                torch.stack(truncated, 1) & live,
                logp=None if logp[0] is None else torch.stack(cast("tuple[Tensor, ...]", logp), 1),
            )
        taken = int(rows.chosen.sum())
        self.taken += taken
        self.figures = {
            "world_steps": float(self.taken),
            "steps_taken": float(taken),
            "episode_return": float(rows.reward.double().sum(1).mean()),
            "episode_length": taken / len(rows),
        } | cut_share(rows, self.world)
        return rows

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.get_state(),
            "taken": self.taken,
            "bounds": bounds_of(self.world),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError for a world that is told in other bounds."""
        check_bounds(state.get("bounds"), bounds_of(self.world), self.world.name)
        self.generator.set_state(state["generator"])
        self.taken = state["taken"]
