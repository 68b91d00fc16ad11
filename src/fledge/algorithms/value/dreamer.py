"""Dreamer: an actor and a critic trained on what a recurrent world imagines; the world itself is
fitted to stretches of what was seen.

sample: the actor, into a memory; stretches out of it; and the actor again, in the imagined world.
score: imagined rewards.  weigh: λ-returns less the critic, in units of their spread.  fit: signed
nll and an entropy bonus; squared error of the critic; nats of the world. Hafner et al. 2020, "Dream
to Control", eqs. 4 to 8; the score-function gradient for every kind of action and returns in units
of their spread: Hafner et al. 2023, "Mastering Diverse Domains through World Models", eqs. 11, 12.
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
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.recurrent_world import RecurrentWorld, Windows
from fledge.plan.proposals import draw_anything
from fledge.sample.replay import Replay
from fledge.sample.windows import draw_stretches
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows, Trajectories
from fledge.worlds.world import Space

LEAST_SPREAD = 1.0  # of returns: small ones are not blown up (Hafner et al. 2023, eq. 12)


@dataclass(frozen=True)
class Dreamt(Rows):
    """N imagined ways of H steps."""

    state: Tensor  # [N, H+1, F]
    action: Tensor  # [N, H, *A]
    weight: Tensor  # [N, H]: the advantage
    target: Tensor  # [N, H]: the λ-return
    going: Tensor  # [N, H]: the chance that it still goes on where the step is made


def lambda_returns(
    reward: Tensor, going: Tensor, value: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """G_t = r_t + γ c_t ((1 − λ) V_{t+1} + λ G_{t+1}), G_H = V_H (Hafner et al. 2020, eqs. 5 and 6,
    as a recursion), c_t the chance that it goes on after the step.  [N, H], [N, H], [N, H+1] -> [N,
    H]
    """
    ahead, returns = value[:, -1], []
    for t in reversed(range(reward.shape[1])):
        mixed = (1 - lambda_) * value[:, t + 1] + lambda_ * ahead
        ahead = reward[:, t] + gamma * going[:, t] * mixed
        returns.append(ahead)
    return torch.stack(returns[::-1], 1)


class Dreamer:
    """State: world, actor and critic with their optimizers, the slow critic, the memory, the spread
    of returns, the state that each copy is in, and the generator of what is imagined.
    """

    gradient_claim = "biased: by what the imagined world and its critic are wrong about"

    class Settings(MemorySettings):
        """Of Dreamer, its world and its memory."""

        # Of 256 stretches, which single steps would be, one optimizer step takes a second.
        rows_per_update: int = Field(
            default=16,
            ge=1,
            description="stretches out of the memory that an optimizer step learns from",
        )
        window_steps: int = Field(default=16, ge=2, description="of a stretch out of the memory")
        imagined_steps: int = Field(default=12, ge=1, description="of each imagined way")
        gae_lambda: float = Field(
            default=0.95, ge=0, le=1, description="1: all of an imagined way; 0: one step of it"
        )
        entropy_coefficient: float = Field(
            default=3e-3, ge=0, description="advantage that a nat of entropy is worth"
        )
        target_rate: float = Field(
            default=0.02, gt=0, le=1, description="by which the slow critic follows, an update"
        )
        free_nats: float = Field(
            default=1.0, ge=0, description="of a state's code that cost nothing"
        )
        policy_rate: float = Field(
            default=1.0, gt=0, description="learning rate of actor and critic, times the world's"
        )

    def __init__(
        self,
        world: RecurrentWorld,
        policy: ActorCritic,
        world_learner: Learner,
        policy_learner: Learner,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        action: Space,
        replay: Replay,
        generator: torch.Generator,
        begins_trained: bool = False,
    ) -> None:
        """policy: over states of the world. generator: of what is imagined."""
        self.world, self.policy, self.action = world, policy, action
        self.world_learner, self.policy_learner = world_learner, policy_learner
        self.stopwatch, self.generator = stopwatch, generator
        self.settings, self.begins_trained = settings or Dreamer.Settings(), begins_trained
        self.target_critic = TargetNetwork(policy.critic)
        self.steps = Replayed(replay, self.settings)
        self.spread = 0.0  # of returns, from the 5th to the 95th percentile, a running mean
        self.carried: tuple[Tensor, Tensor] | None = None  # state and last action of each copy

    @property
    def unfinished(self) -> Trajectories | None:
        return self.steps.batch

    @property
    def best(self) -> Callable[[Tensor], Tensor]:
        """A player that begins with the first observation of an episode, with a state of its own.
        [n, *O] -> [n, *A]
        """
        carried: list[tuple[Tensor, Tensor] | None] = [None]

        def play(obs: Tensor) -> Tensor:
            if carried[0] is not None and len(carried[0][0]) != len(obs):
                carried[0] = None  # others are asked about
            state = self._look(carried[0], obs, None)
            action = self.policy.best(state)
            carried[0] = (state, self.world.as_numbers(action))
            return action

        return play

    @torch.no_grad()
    def _look(
        self, carried: tuple[Tensor, Tensor] | None, obs: Tensor, noise: Tensor | None
    ) -> Tensor:
        """The state of each copy once this is seen; noise: none for the mean.  -> [n, F]"""
        n = len(obs)
        state, done = carried or (self.world.begin(n), self.world.nothing_done(n))
        noise = torch.zeros(n, self.world.stochastic) if noise is None else noise
        return self.world.observe(state, done, self.world.encode(obs), noise)[0]

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """[n, *O] -> [n, *A]; at random until learning starts."""
        noise = torch.randn(len(obs), self.world.stochastic, generator=generator)
        state = self._look(self.carried, obs, noise)
        if self.steps.started or self.begins_trained:
            action = self.policy.act(state, generator)[0]
        else:
            action = draw_anything(self.action, len(obs), generator)
        self.carried = (state, self.world.as_numbers(action))
        return action, None

    def begin_anew(self, which: Tensor) -> None:
        """The copies [n] bool whose next observation is the first of an episode."""
        if self.carried is not None:
            stays = (~which)[:, None].to(torch.float32)
            self.carried = (self.carried[0] * stays, self.carried[1] * stays)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the batch, then the optimizer steps it pays for. `between_steps` is called after
        each of world, actor and critic together.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.steps.begin(batch)
            return self.steps.run(self.fit, between_steps)

    def fit(self) -> dict[str, float]:
        """One optimizer step of the world, one of actor and critic on what it imagines; the slow
        critic follows.
        """
        rows = self._draw_windows()
        figures = self.world_learner.step(self._world_loss(rows), rows)
        dreamt, said = self._dream(rows)
        learned = self.policy_learner.step(self._policy_loss(dreamt), dreamt)
        self.target_critic.follow(self.settings.target_rate)
        own = ("policy_loss", "value_error", "entropy")
        return figures | said | {name: learned[name] for name in own if name in learned}

    def _draw_windows(self) -> Windows:
        s = self.settings
        drawn = draw_stretches(self.steps.replay, s.rows_per_update, s.window_steps)
        shape = (*drawn.obs.shape[:2], self.world.stochastic)
        return Windows(*drawn, noise=torch.randn(shape, generator=self.generator))

    def _world_loss(self, rows: Windows) -> Callable[[Windows], Any]:
        steps = self.world_learner.count_rows(rows) * rows.obs.shape[1]

        def loss(some: Windows) -> tuple[Tensor, Mapping[str, Tensor]]:
            nats, _ = self.world.losses(some)
            said = {f"{name}_nats": each.sum() / steps for name, each in nats._asdict().items()}
            return sum(said.values(), torch.zeros(())), said

        return loss

    @torch.no_grad()
    def _dream(self, rows: Windows) -> tuple[Dreamt, dict[str, float]]:
        """From every state along the stretches, as the world now follows them."""
        s, world = self.settings, self.world
        states, _, _ = world.follow(rows)
        state = states[:, :-1][rows.chosen] if bool(rows.chosen.any()) else states[:, 0]
        way, actions = [state], []
        noise = torch.randn(
            (s.imagined_steps, len(state), world.stochastic), generator=self.generator
        )
        for t in range(s.imagined_steps):
            action, _ = self.policy.act(state, self.generator)
            state = world.imagine(state, world.as_numbers(action), noise[t])
            way.append(state)
            actions.append(action)
        path = torch.stack(way, 1)  # [N, H+1, F]
        reward, end = world.tell(path[:, 1:])
        going = torch.sigmoid(-end)
        value = self.target_critic.network(path).squeeze(-1)
        target = lambda_returns(reward, going, value, s.gamma, s.gae_lambda)
        ends = torch.quantile(target.flatten(), torch.tensor([0.05, 0.95]))
        now = float(ends[1] - ends[0])
        self.spread = now if not self.spread else 0.99 * self.spread + 0.01 * now
        weight = (target - self.policy.critic(path[:, :-1]).squeeze(-1)) / max(
            LEAST_SPREAD, self.spread
        )
        before = torch.cat([torch.ones_like(going[:, :1]), going[:, :-1].cumprod(1)], 1)
        dreamt = Dreamt(path, torch.stack(actions, 1), weight, target, before)
        return dreamt, {"imagined_return": float(target[:, 0].mean()), "spread": self.spread}

    def _policy_loss(self, rows: Dreamt) -> Callable[[Dreamt], Any]:
        s, count = self.settings, self.policy_learner.count_rows(rows) * rows.weight.shape[1]

        def loss(some: Dreamt) -> tuple[Tensor, Mapping[str, Tensor]]:
            mine = torch.ones_like(some.weight, dtype=torch.bool)
            logp, entropy, value = self.policy.evaluate(some.state, some.action, mine, entropy=True)
            actor = -some.weight * logp - s.entropy_coefficient * entropy
            critic = 0.5 * (value[:, :-1] - some.target).square()
            said = {
                "policy_loss": (some.going * actor).sum() / count,
                "value_loss": (some.going * critic).sum() / count,
                "value_error": (value[:, :-1].detach() - some.target).abs().sum() / count,
                "entropy": entropy.detach().sum() / count,
            }
            return said["policy_loss"] + said["value_loss"], said

        return loss

    def state_dict(self) -> dict[str, Any]:
        state, done = self.carried or (None, None)
        return {name: part.state_dict() for name, part in self._parts()} | {
            "spread": self.spread,
            "carried": {"state": state, "done": done},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts():
            part.load_state_dict(state[name])
        self.spread = state["spread"]
        held = state["carried"]
        self.carried = None if held["state"] is None else (held["state"], held["done"])
        self.generator.set_state(state["generator"])

    def _parts(self) -> list[tuple[str, Any]]:
        return [
            (name, getattr(self, name))
            for name in ("world_learner", "policy_learner", "target_critic", "steps")
        ]
