"""SAC: it does not fit `weigh`, because the gradient goes through the action: the actor climbs the
critics' own slope.

sample: the actor, into a memory, and out of it.  score, weigh: –.  fit: squared error of the
critics; then α·log π(a|s) − min Q(s, a) differentiated through a; then the temperature α. Haarnoja
et al. 2018, "Soft Actor-Critic Algorithms and Applications", algorithm 1, with the smaller of two
critics in both objectives, and the temperature's on log α.
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
from fledge.algorithms.value.losses_kernel import fit_actor_by_kernel, fit_critics_by_kernel
from fledge.learner import Learner
from fledge.models.control.squashed_actor import GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


@dataclass(frozen=True)
class Noisy(Transitions):
    """With the noise that each row's actions are made of, drawn before the rows are cut:
    micro-batches never change the numbers.
    """

    noise: Tensor  # [N, width]: of the action in `obs`
    next_noise: Tensor  # [N, width]: of the action in `next_obs`


class SoftActorCritic:
    class Settings(MemorySettings):
        """Of SAC and its memory."""

        target_rate: float = Field(
            default=0.005, gt=0, le=1, description="by which the target critics follow, an update"
        )
        target_entropy: float | None = Field(
            default=None,
            description="nats, in units of the bounds; none: −1 for each part of the action",
        )

    def __init__(
        self,
        actor: GaussianActor,
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
        `begins_trained`. generator: of the noise.
        """
        self.actor, self.critic, self.stopwatch = actor, critic, stopwatch
        self.actor_learner, self.critic_learner = actor_learner, critic_learner
        self.settings = s = settings or SoftActorCritic.Settings()
        self.target_entropy = (
            -float(actor.bounds.width) if s.target_entropy is None else s.target_entropy
        )
        self.generator, self.begins_trained = generator, begins_trained
        self.target_critic = TargetNetwork(critic)
        self.steps = Replayed(replay, s)

    @property
    def unfinished(self) -> Trajectories | None:
        return self.steps.batch

    @torch.no_grad()
    def best(self, obs: Tensor) -> Tensor:
        """The middle of the actor's distribution.  [n, *O] -> [n, *A]"""
        return self.actor.best(obs.to(self.actor_learner.device)).cpu()

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """Anywhere between the bounds until learning starts, then as the actor would.  [n, *O] ->
        [n, *A]
        """
        if not (self.steps.started or self.begins_trained):
            return self.actor.bounds.draw_anywhere(len(obs), generator).cpu(), None
        noise = torch.randn((len(obs), self.actor.bounds.width), generator=generator)
        device = self.actor_learner.device
        return self.actor(obs.to(device), noise.to(device))[0].cpu(), None

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the batch, then the optimizer steps it pays for. `between_steps` is called after
        each of critics and actor together.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.steps.begin(batch)
            return self.steps.run(self.fit, between_steps)

    @torch.no_grad()
    def target(self, rows: Noisy) -> Tensor:
        """r + γ (min Q⁻(s′, a′) − α log π(a′|s′)), a′ the actor's; only r where the world ended.
        -> [N]
        """
        action, logp = self.actor(rows.next_obs, rows.next_noise)
        worth = (
            self.target_critic.network(rows.next_obs, action).amin(0)
            - self.actor.log_temperature.exp() * logp
        )
        return rows.reward + torch.where(rows.terminated, 0.0, rows.discount * worth)

    def fit(self) -> dict[str, float]:
        """One optimizer step of the critics, one of actor and temperature, and the target
        follows.
        """
        drawn = self.steps.replay.draw(self.settings.rows_per_update, self.settings.gamma)
        noise = torch.randn((2, len(drawn), self.actor.bounds.width), generator=self.generator)
        noisy = Noisy.of(drawn, noise=noise[0], next_noise=noise[1])
        count = self.critic_learner.count_rows(drawn)
        errors: list[Tensor] = []

        def critic_loss(rows: Noisy) -> tuple[Tensor, Mapping[str, Tensor]]:
            # Whoever has a target of their own is asked for it.
            usual = getattr(self.target, "__func__", None) is SoftActorCritic.target
            fitted = fit_critics_by_kernel(self, rows, count) if usual else None
            if fitted is not None:
                share, marks, size = fitted
                errors.append(size)
                return share, marks
            q = self.critic(rows.obs, rows.action)  # [2, N]
            error = q - self.target(rows)
            errors.append(error.detach().abs().mean(0))
            return (0.5 * rows.weight * error.square()).sum() / count, {
                "q": q.mean(0).sum() / count
            }

        def actor_loss(rows: Noisy) -> tuple[Tensor, Mapping[str, Tensor]]:
            fitted = fit_actor_by_kernel(self, rows, count)
            if fitted is not None:
                return fitted
            action, logp = self.actor(rows.obs, rows.noise)
            with self.critic.hold_still():
                worth = self.critic(rows.obs, action).amin(0)  # [N]
            temperature = self.actor.log_temperature.exp().detach()
            climbing = (temperature * logp - worth).sum() / count
            surplus = (
                -self.actor.log_temperature * (logp.detach() + self.target_entropy).sum() / count
            )
            return climbing + surplus, {"policy_loss": climbing, "entropy": -logp.sum() / count}

        value = self.critic_learner.step(critic_loss, noisy)
        policy = self.actor_learner.step(actor_loss, noisy)
        self.target_critic.follow(self.settings.target_rate)
        self.steps.replay.surprised(drawn.index, self.critic_learner.join(errors, drawn).cpu())
        return {
            "value_loss": value["loss"],
            "policy_loss": policy["policy_loss"],
            "q": value["q"],
            "entropy": policy["entropy"],
            "temperature": float(self.actor.log_temperature.detach().exp()),
            "grad_norm": value["grad_norm"],
            "policy_grad_norm": policy["grad_norm"],
            "learning_rate": value["learning_rate"],
        } | ({"steps_skipped": value["steps_skipped"]} if "steps_skipped" in value else {})

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts()} | {
            "generator": self.generator.get_state()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])

    def _parts(self) -> list[tuple[str, Any]]:
        return [
            (name, getattr(self, name))
            for name in ("actor_learner", "critic_learner", "target_critic", "steps")
        ]
