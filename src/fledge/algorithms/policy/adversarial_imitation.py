"""GAIL and AIRL: earn by being taken for the expert. Ho & Ermon 2016, algorithm 1; Fu, Luo & Levine
2018, algorithm 1.

sample: policy.  score: a discriminator of the expert's steps and the policy's, fitted to the batch
first; what the world pays is not looked at.  weigh, fit: PPO's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from fledge.algorithms.policy.ppo import PPO
from fledge.errors import UserError
from fledge.fit import total
from fledge.learner import Learner
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.discriminator import Discriminator, say_end
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories


@dataclass(frozen=True, kw_only=True)
class Attributed(Trajectories):
    """Single steps of either."""

    expert: Tensor  # [B, 1] bool: whose they are

    def with_ends(self) -> Marked:
        """Beside each step the one that follows it in the absorbing state, chosen where it led
        there.
        """
        chosen = torch.cat([self.chosen, self.chosen & self.terminated], 1)
        return Marked(chosen, self.expert.expand_as(chosen))


@dataclass(frozen=True)
class Marked:
    """chosen: which of them there are, expert: whose.  [B, 2] bool each"""

    chosen: Tensor
    expert: Tensor


class AdversarialImitation:
    gradient_claim = "biased: PPO's, of a reward that is learned meanwhile"

    class Settings(PPO.InWorlds):
        """Of GAIL and AIRL: of PPO, and of the discriminator."""

        form: Literal["gail", "airl"] = Field(
            default="gail",
            description="gail: any D(s, a); airl: D = e^f / (e^f + π), f = g + γ h(s') − h(s)",
        )
        state_only: bool = Field(
            default=False, description="airl: g, the reward, is of s alone, not of s and a"
        )
        expert_episodes: int = Field(
            default=10, ge=1, description="episodes of the expert's, played as the run begins"
        )
        discriminator_updates: int = Field(
            default=4, ge=1, description="optimizer steps of the discriminator on each batch"
        )
        rows_per_discriminator_update: int = Field(
            default=256, ge=2, description="steps that one of these learns from, half the expert's"
        )
        absorbing: bool = Field(
            default=False,
            description="what follows a termination is a state that is told apart and earns too, "
            "for ever; without it an early end pays where rewards are negative",
        )
        discriminator_rate: float = Field(
            default=1.0, gt=0, le=100, description="its learning rate, times the policy's"
        )

    def __init__(
        self,
        policy: ActorCritic,
        discriminator: Discriminator,
        shown: Trajectories,
        learner: Learner,
        discriminator_learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        """shown: the expert's steps. generator: of the rows of all optimizer steps."""
        self.policy, self.discriminator = policy, discriminator
        self.shown = shown.as_steps()
        self.settings = settings or AdversarialImitation.Settings()
        if self.settings.absorbing and self.settings.gamma >= 1:
            raise UserError(
                "absorbing=true, which airl has by default, sums what is earned for ever, and with "
                "gamma=1 there is no such sum: give gamma=0.99, or absorbing=false."
            )
        self.discriminator_learner, self.stopwatch = discriminator_learner, stopwatch
        self.generator = generator
        self.ppo = PPO(policy, learner, stopwatch, self.settings, generator=generator)
        self.figures: dict[str, float] = {}  # of the discriminator, on the batch in hand

    @property
    def unfinished(self) -> Any:
        return self.ppo.unfinished

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """The discriminator's optimizer steps, then PPO's on what it says.

        discriminator_loss: nats a step; ln 2 where it can tell nothing. discriminator_right: the
        share of steps, half of them the expert's, that it takes for whose they are. learned_reward:
        mean of a step.
        """
        if self.unfinished is None:
            batch = batch.to(self.discriminator_learner.device)
            with self.stopwatch.phase("score"):
                self.figures = self.discriminate(batch.as_steps())
                batch = batch.replace(reward=self.reward(batch))
                mean = batch.reward[batch.chosen].mean() if batch.chosen.any() else 0.0
                self.figures["learned_reward"] = float(mean)
        return self.figures | self.ppo.update(batch, between_steps)

    def discriminate(self, own: Trajectories) -> dict[str, float]:
        """own: steps of the policy's, [N, 1].  -> means over the optimizer steps"""
        said: list[dict[str, float]] = []
        for _ in range(self.settings.discriminator_updates):
            said.append(self.discriminator_learner.step(*self.pose(self.draw(own))))
        steps = len(said)
        return {
            f"discriminator_{name}": sum(each[name] for each in said) / steps
            for name in ("loss", "right")
        }

    def draw(self, own: Trajectories) -> Attributed:
        """As many of either, with replacement."""
        rows = self.settings.rows_per_discriminator_update // 2
        parts = [
            part[torch.randint(len(part), (rows,), generator=self.generator).to(part.obs.device)]
            for part in (self.shown.to(own.obs.device), own)
        ]

        def join(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])

        expert = torch.arange(2 * rows, device=own.obs.device)[:, None] < rows
        names = ("obs", "action", "chosen", "reward", "terminated", "truncated")
        return Attributed(**{name: join(name) for name in names}, expert=expert)

    def pose(
        self, batch: Attributed
    ) -> tuple[Callable[[Attributed], tuple[Tensor, Mapping[str, Tensor]]], Attributed]:
        """−ln D of the expert's steps, −ln(1 − D) of the policy's, as a mean over all."""
        counted = batch.with_ends().chosen if self.settings.absorbing else batch.chosen
        count = self.discriminator_learner.count(counted)

        def loss(rows: Attributed) -> tuple[Tensor, Mapping[str, Tensor]]:
            logit, marked = self.logit(rows), Marked(rows.chosen, rows.expert)
            if self.settings.absorbing:
                # One step there for each drawn step that leads there, whoever took it.
                end = say_end(self.discriminator.end).to(logit.dtype).expand_as(logit)
                logit, marked = torch.cat([logit, end], 1), rows.with_ends()
            nats = total(softplus(torch.where(marked.expert, -logit, logit)), marked.chosen, count)
            right = ((logit > 0) == marked.expert).to(logit.dtype)
            return nats, {"right": total(right, marked.chosen, count).detach()}

        return loss, batch

    def logit(self, batch: Trajectories) -> Tensor:
        """ln D − ln(1 − D) of every step.  -> [B, T]"""
        with torch.no_grad():
            logp = self.policy.log_prob(batch.obs, batch.action)
        return self.discriminator.logit(
            batch.obs[:, :-1].flatten(0, 1),
            batch.action.flatten(0, 1),
            batch.obs[:, 1:].flatten(0, 1),
            batch.terminated.flatten(),
            logp.flatten(),
        ).view(batch.chosen.shape)

    @torch.no_grad()
    def reward(self, batch: Trajectories) -> Tensor:
        """What being taken for the expert pays, in place of the world's.  -> [B, T]"""

        def ask(part: Trajectories) -> list[Tensor]:
            return [self.discriminator.reward(self.logit(part))]

        (reward,) = self.discriminator_learner.map(ask, batch)
        if self.settings.absorbing:
            gamma = self.settings.gamma
            later = gamma / (1 - gamma) * self.discriminator.reward(say_end(self.discriminator.end))
            reward = reward + torch.where(batch.terminated, later.to(reward), 0.0)
        return torch.where(batch.chosen, reward, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "ppo": self.ppo.state_dict(),
            "discriminator": self.discriminator_learner.state_dict(),
            "shown": self.shown.state_dict(),
            "figures": self.figures,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ppo.load_state_dict(state["ppo"])
        self.discriminator_learner.load_state_dict(state["discriminator"])
        self.shown = Trajectories.from_state(state["shown"])
        self.figures = dict(state["figures"])


GAIL = AdversarialImitation.Settings(gamma=0.99, value_clip=None, epochs=10)
# Its reward is negative where the policy is not yet the expert: an early end would pay.
AIRL = GAIL.replace(form="airl", absorbing=True)
