"""What each algorithm of `fledge control` is made of: networks, learner, memory, out of the
settings of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fledge.algorithms.parts.action_table import ActionTable, falling_rate
from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.natural_gradient import (
    FixedRate,
    NaturalGradient,
    NaturalGradientSettings,
)
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.ppo import PPO, PPOSettings
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.policy.trpo import TrustRegion
from fledge.algorithms.value.dqn import DQN, Exploration
from fledge.algorithms.value.soft_actor_critic import SoftActorCritic
from fledge.algorithms.value.td3 import TD3
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic, Encoder
from fledge.models.control.graph_policy import graph_policy_for
from fledge.models.control.q_network import QNetwork
from fledge.models.control.squashed_actor import DeterministicActor, GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.optimizers import adamw
from fledge.recipes.pacing import Pace
from fledge.sample.replay import Replay, Surprise
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Space, World

POLICY_EVERY = 2  # td3: optimizer steps of the critics to one of the actor (Fujimoto et al. 2018)


class Player(Protocol):
    """What a finished algorithm is asked for: the action it thinks best."""

    def best(self, obs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Built:
    """An algorithm, who acts for it, who plays for it, the module whose weights are the result, and
    the statistics that grow.

    critic: what else another run must have to go on from here, where it is a network of its own.
    """

    algorithm: Any
    actor: Any
    player: Player
    module: nn.Module
    encoder: Encoder | None = None
    critic: nn.Module | None = None


@dataclass(frozen=True)
class Making:
    """What a builder is given. settings: every field of the run. paces: what it says of the
    learners that it made.
    """

    world: World
    settings: Any
    stopwatch: Stopwatch
    device: torch.device
    paces: list[Pace] = field(default_factory=list)

    @property
    def random(self) -> torch.Generator:
        """Of which rows each optimizer step takes."""
        return generator_for(self.settings.seed, "batches")

    def actor_critic(self, observation: Space | None = None) -> ActorCritic:
        """Over the world's observations, or others."""
        s = self.settings
        return ActorCritic(
            observation or self.world.observation,
            self.world.action,
            generator=generator_for(s.seed, "weights"),
            widths=s.widths,
            normalise=s.normalise,
            actor=self.graph_policy() if s.network == "graph" else None,
        ).to(self.device)

    def graph_policy(self) -> nn.Module:
        """Raises UserError for a body that is none."""
        generator = generator_for(self.settings.seed, "weights", "graph")
        return graph_policy_for(self.world.name, generator=generator)

    def learner(self, module: nn.Module, steps_per_batch: float = 1, after: int = 0) -> Learner:
        """Its schedule is in world steps, the only length of a run that is known beforehand. after:
        those before it learns at all.
        """
        s = self.settings
        schedule = Schedule(s.learning_rate, s.steps - after, shape=s.schedule, final=0.0)
        learner = Learner(
            module,
            schedule,
            optimizer=adamw(betas=(0.9, 0.999), eps=1e-5, weight_decay=0.0),
            clip=s.clip,
        )
        self.paces.append(Pace(learner, steps_per_batch, after))
        return learner


def count_updates(settings: Any) -> int:
    """Optimizer steps on one batch: its steps, `rows_per_update` at a time, `epochs` times over."""
    rows = min(settings.copies * settings.steps_per_batch, settings.steps)
    pieces = max(1, rows // settings.rows_per_update)
    return pieces * settings.epochs


def make_exploration(settings: Any) -> Exploration:
    """From any action to hardly any; who goes on from an agent explores no more than at its end."""
    s = settings
    first = 1.0 if s.base is None else s.last_epsilon
    return Exploration(
        first=first, last=s.last_epsilon, world_steps=int(s.exploration_share * s.steps)
    )


def build_ppo(m: Making) -> Built:
    s, policy = m.settings, m.actor_critic()
    per_batch = count_updates(s)
    chosen = PPOSettings(
        gamma=s.gamma, gae_lambda=s.gae_lambda, clip_low=s.clip_range, clip_high=s.clip_range,
        value_clip=s.value_clip, value_coefficient=s.value_coefficient,
        entropy_coefficient=s.entropy_coefficient, epochs=s.epochs, updates_per_step=per_batch,
        target_kl=s.update_kl, rows="steps",
    )  # fmt: skip
    algorithm = PPO(policy, m.learner(policy, per_batch), m.stopwatch, chosen, generator=m.random)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_async(m: Making) -> Built:
    """What workers send is a little old, and is weighed for it."""
    return build_actor_critic(m, truncate_at=m.settings.truncate_at or 1.0)


def build_actor_critic(m: Making, truncate_at: float | None = None) -> Built:
    s, policy = m.settings, m.actor_critic()
    algorithm = AdvantageActorCritic(
        policy, m.learner(policy), m.stopwatch, gamma=s.gamma, gae_lambda=s.gae_lambda,
        value_coefficient=s.value_coefficient, entropy_coefficient=s.entropy_coefficient,
        truncate_at=truncate_at,
    )  # fmt: skip
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_reinforce(m: Making) -> Built:
    s, policy = m.settings, m.actor_critic()
    algorithm = Reinforce(
        policy, m.learner(policy), m.stopwatch, baseline=s.baseline,
        baseline_value=s.baseline_value, gamma=s.gamma,
        actor_critic=policy if s.baseline == "value" else None,
        value_coefficient=s.value_coefficient,
    )  # fmt: skip
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_importance(m: Making) -> Built:
    """REINFORCE several times over on one batch, with weights for what has changed since it was
    sampled.
    """
    s, policy = m.settings, m.actor_critic()
    algorithm = OffPolicy(
        policy, m.learner(policy, s.epochs), m.stopwatch, weights=s.importance,
        truncate_at=s.truncate_at, baseline_value=s.baseline_value, gamma=s.gamma, epochs=s.epochs,
    )  # fmt: skip
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_natural(m: Making, trust_region: bool) -> Built:
    s, policy = m.settings, m.actor_critic()
    per_batch = count_updates(s)
    chosen = NaturalGradientSettings(
        gamma=s.gamma, gae_lambda=s.gae_lambda, critic_updates=per_batch, critic_epochs=s.epochs
    )
    step = TrustRegion(s.update_kl or 0.01) if trust_region else FixedRate(s.natural_rate)
    learner = m.learner(policy.critic, per_batch)
    algorithm = NaturalGradient(policy, learner, m.stopwatch, chosen, generator=m.random, step=step)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_dqn(m: Making) -> Built:
    s = m.settings
    network = QNetwork(
        m.world.observation, m.world.action, generator=generator_for(s.seed, "weights"),
        widths=s.widths, dueling=s.dueling, normalise=s.normalise,
    ).to(m.device)  # fmt: skip
    surprise = Surprise() if s.prioritised else None
    algorithm = DQN(
        network, m.learner(network, s.updates_per_batch, after=s.learning_starts), m.stopwatch,
        replay=Replay(s.buffer, generator=m.random, surprise=surprise), gamma=s.gamma,
        n_step=s.n_step, updates_per_step=s.updates_per_batch, rows_per_update=s.rows_per_update,
        target_every=s.target_every, double=s.double, exploration=make_exploration(s),
        learning_starts=s.learning_starts,
    )  # fmt: skip
    return Built(algorithm, algorithm, algorithm, network, network.normaliser)


def build_off_policy(m: Making, entropy: bool) -> Built:
    """SAC, which is paid for entropy, or TD3."""
    s, spaces = m.settings, (m.world.observation, m.world.action)
    random = generator_for(s.seed, "weights")
    encoder = Encoder(m.world.observation, s.normalise)  # one for all; memory keeps what was seen
    critic = TwinCritic(*spaces, generator=random, widths=s.widths, encoder=encoder).to(m.device)
    common: dict[str, Any] = {
        "replay": Replay(s.buffer, generator=m.random), "generator": generator_for(s.seed, "noise"),
        "gamma": s.gamma, "updates_per_step": s.updates_per_batch,
        "rows_per_update": s.rows_per_update, "learning_starts": s.learning_starts,
        "begins_trained": s.base is not None,
    }  # fmt: skip
    critic_learner = m.learner(critic, s.updates_per_batch, after=s.learning_starts)
    actor: nn.Module
    if entropy:
        actor = GaussianActor(*spaces, generator=random, widths=s.widths, encoder=encoder).to(
            m.device
        )
        actor_learner = m.learner(actor, s.updates_per_batch, after=s.learning_starts)
        algorithm: Any = SoftActorCritic(
            actor, critic, actor_learner, critic_learner, m.stopwatch, **common
        )
    else:
        actor = DeterministicActor(*spaces, generator=random, widths=s.widths, encoder=encoder).to(
            m.device
        )
        actor_learner = m.learner(
            actor, s.updates_per_batch / POLICY_EVERY, after=s.learning_starts
        )
        algorithm = TD3(
            actor,
            critic,
            actor_learner,
            critic_learner,
            m.stopwatch,
            policy_every=POLICY_EVERY,
            **common,
        )
    return Built(algorithm, algorithm, algorithm, actor, encoder, critic)


class _Values(nn.Module):
    """A table as a module, so that it is saved as weights are."""

    def __init__(self, table: ActionTable) -> None:
        super().__init__()
        self.register_buffer("q", table.q)


def build_tabular(m: Making, method: Callable[..., Any]) -> Built:
    s = m.settings
    table = ActionTable(
        m.world.observation, m.world.action, rate=falling_rate(0.8), exploration=make_exploration(s)
    )
    return Built(method(table, m.stopwatch, gamma=s.gamma), table, table, _Values(table))
