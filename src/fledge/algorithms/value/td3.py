"""TD3: it does not fit `weigh`, because the gradient goes through the action: SAC with one action
for each state and no entropy.

sample: the actor and noise, into a memory, and out of it.  score, weigh: –.  fit: squared error of
two critics; every second time −Q₁(s, π(s)) differentiated through the action. Fujimoto et al. 2018,
algorithm 1. Where SAC's distribution tries things and smooths the target, noise of a fixed size
does so here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.replayed import MemorySettings, Replayed
from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.learner import Learner
from fledge.models.control.squashed_actor import DeterministicActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


@dataclass(frozen=True)
class Smoothed(Transitions):
    """With the noise of each row's next action, drawn before the rows are cut: micro-batches never
    change the numbers.
    """

    next_noise: Tensor  # [N, width]


class TD3:
    class Settings(MemorySettings):
        """Of TD3 and its memory. Noise is a standard deviation in units of the bounds, −1 to 1."""

        target_rate: float = Field(
            default=0.005, gt=0, le=1, description="by which the target networks follow, an update"
        )
        policy_every: int = Field(
            default=2,
            ge=1,
            description="optimizer steps of the critics to one of the actor and the targets",
        )
        acting_noise: float = Field(default=0.1, ge=0, description="of what it does")
        target_noise: float = Field(default=0.2, ge=0, description="of the target's action")
        most_target_noise: float = Field(default=0.5, ge=0, description="that noise ends here")

    def __init__(
        self,
        actor: DeterministicActor,
        critic: TwinCritic,
        actor_learner: Learner,
        critic_learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        replay: Replay,
        generator: torch.Generator,
        begins_trained: bool = False,
    ) -> None:
        """Before `learning_starts` actions are made at random, but by an actor that
        `begins_trained`.
        """
        self.actor, self.critic, self.stopwatch = actor, critic, stopwatch
        self.actor_learner, self.critic_learner = actor_learner, critic_learner
        self.settings = settings or TD3.Settings()
        self.generator, self.begins_trained = generator, begins_trained
        self.target_actor, self.target_critic = TargetNetwork(actor), TargetNetwork(critic)
        self.steps = Replayed(replay, self.settings)

    @property
    def unfinished(self) -> Trajectories | None:
        return self.steps.batch

    @torch.no_grad()
    def best(self, obs: Tensor) -> Tensor:
        """π(s).  [n, *O] -> [n, *A]"""
        return self.actor(obs.to(self.actor_learner.device)).cpu()

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """Anywhere between the bounds until learning starts, then π(s) and noise, within them.  [n,
        *O] -> [n, *A]
        """
        if not (self.steps.started or self.begins_trained):
            return self.actor.bounds.draw_anywhere(len(obs), generator).cpu(), None
        noise = self.settings.acting_noise * torch.randn(
            (len(obs), self.actor.bounds.width), generator=generator
        )
        device = self.actor_learner.device
        return self.actor(obs.to(device), noise.to(device)).cpu(), None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the batch, then the optimizer steps it pays for. `between_steps` is called after
        each of the critics'.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.steps.begin(batch)
            return self.steps.run(self.fit, between_steps)

    @torch.no_grad()
    def target(self, rows: Smoothed) -> Tensor:
        """r + γ min Q⁻(s′, π⁻(s′) + noise); only r where the world ended.  -> [N]"""
        action = self.target_actor.network(rows.next_obs, rows.next_noise)
        worth = self.target_critic.network(rows.next_obs, action).amin(0)
        return rows.reward + torch.where(rows.terminated, 0.0, rows.discount * worth)

    def fit(self) -> dict[str, float]:
        """One optimizer step of the critics, and at every `policy_every`-th one of the actor, whom
        the targets follow.
        """
        drawn = self.steps.replay.draw(self.settings.rows_per_update, self.settings.gamma)
        noise = self.settings.target_noise * torch.randn(
            (len(drawn), self.actor.bounds.width), generator=self.generator
        )
        bound = self.settings.most_target_noise
        smoothed = Smoothed.of(drawn, next_noise=noise.clamp(-bound, bound))
        count = self.critic_learner.count_rows(drawn)
        errors: list[Tensor] = []

        def critic_loss(rows: Smoothed) -> tuple[Tensor, Mapping[str, Tensor]]:
            q = self.critic(rows.obs, rows.action)  # [2, N]
            error = q - self.target(rows)
            errors.append(error.detach().abs().mean(0))
            return (0.5 * rows.weight * error.square()).sum() / count, {
                "q": q.mean(0).sum() / count
            }

        def actor_loss(rows: Smoothed) -> tuple[Tensor, Mapping[str, Tensor]]:
            with self.critic.hold_still():
                return -self.critic.first(rows.obs, self.actor(rows.obs)).sum() / count, {}

        value = self.critic_learner.step(critic_loss, smoothed)
        named = ("q", "grad_norm", "learning_rate", "steps_skipped")
        figures = {name: value[name] for name in named if name in value} | {
            "value_loss": value["loss"]
        }
        learner = self.critic_learner
        # A critic that is right has nothing to learn and makes no step, and the actor still has.
        if (learner.steps + learner.skipped) % self.settings.policy_every == 0:
            policy = self.actor_learner.step(actor_loss, smoothed)
            figures |= {"policy_loss": policy["loss"], "policy_grad_norm": policy["grad_norm"]}
            self.target_actor.follow(self.settings.target_rate)
            self.target_critic.follow(self.settings.target_rate)
        self.steps.replay.surprised(drawn.index, self.critic_learner.join(errors, drawn).cpu())
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts()} | {
            "generator": self.generator.get_state()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])

    def _parts(self) -> list[tuple[str, Any]]:
        names = ("actor_learner", "critic_learner", "target_actor", "target_critic", "steps")
        return [(name, getattr(self, name)) for name in names]
