"""Trajectories out of a world: an actor in all of its copies at once, T steps a batch, episodes
running on from batch to batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from fledge.sample.reward_scale import RewardScale
from fledge.seeds import generator_for, seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.units import bounds_of, check_bounds, cut_actions
from fledge.worlds.world import Box, Step, World

RECENT = 100  # episodes that the mean return is taken over


class Actor(Protocol):
    """Who acts. Its random numbers come from the generator and from nowhere else.

    One that remembers from step to step has `begin_anew(which [n] bool)` besides: the copies whose
    next observation is the first of an episode.
    """

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """[n, *O] -> action [n, *A] and its log-probability [n], None where it has none."""
        ...


def cut_share(rows: Trajectories, world: World) -> dict[str, float]:
    """`cut_actions`: the share of what was chosen that the world moved to its bounds. {} where
    actions are choices.
    """
    if not isinstance(world.action, Box) or not bool(rows.chosen.any()):
        return {}
    return {
        "cut_actions": float(cut_actions(rows.action, world.action)[rows.chosen].float().mean())
    }


def _held(after: Step, held: Tensor, before: Tensor) -> Step:
    """As if the copies that are held had not been stepped: with the last of the steps that were
    asked for, some of them are one too many.

    held [n] bool, before [n, *O]
    """
    if not bool(held.any()):
        return after
    kept = held.view(-1, *[1] * (before.ndim - 1))
    reward = torch.where(held, 0.0, after.reward)
    return Step(
        torch.where(kept, before, after.obs),
        reward,
        after.terminated & ~held,
        after.truncated & ~held,
    )


class Episodes:
    """Endless batches of `world.copies` rows of `steps` steps. Row i is copy i; obs holds every
    true last observation.

    The step after an end only begins anew: it is not `chosen`. Row i of the next batch goes on
    where this one's row i stopped.
    State: the world's and what it is told, who has just ended, the returns so far, the scale and
    the generator.
    """

    def __init__(
        self,
        world: World,
        actor: Actor,
        stopwatch: Stopwatch,
        *,
        steps: int,
        seed: int,
        scale: RewardScale | None = None,
        limit: int | None = None,
    ) -> None:
        """limit: how many steps are chosen, ever; the last batch, of up to twice its length, ends
        with them. scale: of the rewards that are learned from; the returns in `figures` are the
        world's own.
        """
        self.world, self.actor, self.stopwatch, self.steps, self.scale = (
            world,
            actor,
            stopwatch,
            steps,
            scale,
        )
        self.limit = limit
        self.generator = generator_for(seed, "actor")
        self.figures: dict[str, float] = {}
        self.obs = world.reset(seed_for(seed, "worlds"))  # [n, *O]
        self.over = torch.zeros(world.copies, dtype=torch.bool)  # whose episode has just ended
        self.earned, self.length = (
            torch.zeros(world.copies, dtype=torch.float64),
            torch.zeros(world.copies),
        )
        self.returns: deque[float] = deque(maxlen=RECENT)
        self.lengths: deque[float] = deque(maxlen=RECENT)
        self.taken = 0  # steps that were chosen, in all copies together

    @torch.no_grad()
    def __next__(self) -> Trajectories:
        with self.stopwatch.phase("sample"):
            obs, action, logp, chosen = [self.obs], [], [], []
            reward, terminated, truncated = [], [], []
            left = self._left()
            while len(action) < self.steps if left is None else left > 0:
                doing, chance = self.actor.act(self.obs, self.generator)
                after, mine = self.world.step(doing), ~self.over
                self._tell_who_begins(self.over)
                if left is not None:
                    mine &= mine.cumsum(0) <= left
                    left -= int(mine.sum())
                    after = _held(after, ~self.over & ~mine, self.obs)
                chosen.append(mine)
                self.obs, self.over = after.obs, after.terminated | after.truncated
                obs.append(after.obs)
                action.append(doing)
                if chance is not None:
                    logp.append(chance)
                reward.append(after.reward)
                terminated.append(after.terminated)
                truncated.append(after.truncated)
            rows = Trajectories(
                torch.stack(obs, 1),
                torch.stack(action, 1),
                torch.stack(chosen, 1),
                torch.stack(reward, 1),
                torch.stack(terminated, 1),
                torch.stack(truncated, 1),
                logp=torch.stack(logp, 1) if logp else None,
            )
            self._tell(rows)
            return rows if self.scale is None else self.scale(rows)

    def _tell_who_begins(self, which: Tensor) -> None:
        """An actor that remembers hears of the copies [n] whose next observation is the first of an
        episode: what it has done in them was nobody's.
        """
        begin_anew = getattr(self.actor, "begin_anew", None)
        if begin_anew is not None and bool(which.any()):
            begin_anew(which)

    def _left(self) -> int | None:
        """How many steps the last batch is to have, None for any other.

        Less than a whole batch is never left for another one: it might have fewer rows than an
        algorithm makes optimizer steps.
        """
        left = None if self.limit is None else self.limit - self.taken
        return left if left is not None and 0 < left < 2 * self.steps * self.world.copies else None

    def _tell(self, rows: Trajectories) -> None:
        """Returns of the episodes that ended in these rows, in the order of time."""
        taken = int(rows.chosen.sum())
        self.taken += taken
        before, self.earned = self.earned, self.earned + rows.reward.sum(1)
        steps_before, self.length = self.length, self.length + rows.chosen.sum(1)
        ended = (rows.terminated | rows.truncated).T.nonzero()  # [E, 2]: time, copy
        if len(ended):
            earned = before[:, None] + rows.reward.double().cumsum(1)
            length = steps_before[:, None] + rows.chosen.cumsum(1)
            for t, i in ended.tolist():
                self.returns.append(float(earned[i, t]))
                self.lengths.append(float(length[i, t]))
                earned[i], length[i] = earned[i] - earned[i, t], length[i] - length[i, t]
            self.earned, self.length = earned[:, -1], length[:, -1].float()
        self.figures = {"world_steps": float(self.taken), "steps_taken": float(taken)} | cut_share(
            rows, self.world
        )
        if self.returns:
            self.figures["episode_return"] = sum(self.returns) / len(self.returns)
            self.figures["episode_length"] = sum(self.lengths) / len(self.lengths)

    def state_dict(self) -> dict[str, Any]:
        return {
            "world": self.world.state_dict(),
            "bounds": bounds_of(self.world),
            "scale": self.scale.state_dict() if self.scale is not None else None,
            "over": self.over,
            "earned": self.earned,
            "length": self.length,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "taken": self.taken,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError for a world that is told in other bounds."""
        check_bounds(state.get("bounds"), bounds_of(self.world), self.world.name)
        self.obs = self.world.load_state_dict(state["world"])
        self.over, self.earned, self.length = state["over"], state["earned"], state["length"]
        if not self.world.restorable:  # all copies have begun anew
            self.over, self.earned, self.length = (
                torch.zeros_like(x) for x in (self.over, self.earned, self.length)
            )
            self._tell_who_begins(torch.ones_like(self.over))
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])
            if not self.world.restorable:
                self.scale.begin_anew()
        self.returns = deque(state["returns"], maxlen=RECENT)
        self.lengths = deque(state["lengths"], maxlen=RECENT)
        self.taken = state["taken"]
        self.generator.set_state(state["generator"])
