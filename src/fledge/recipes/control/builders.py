"""What each algorithm of `fledge control` is made of: networks, learner, memory, out of the
fields of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fledge.algorithms.likelihood.goal_cloning import Aimed, GoalCloning, add_goal
from fledge.algorithms.likelihood.imitation import DAgger
from fledge.algorithms.own import Own, find_own_algorithm
from fledge.algorithms.parts.action_table import ActionTable, TableSettings, falling_rate
from fledge.algorithms.parts.exploration import Exploration, ExploringSettings
from fledge.algorithms.parts.replayed import MemorySettings
from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.algorithms.policy.natural_gradient import NaturalGradient, StepSettings
from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.ppo import PPO
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.algorithms.settings import AlgorithmSettings
from fledge.algorithms.value.dqn import DQN
from fledge.algorithms.value.monte_carlo import MonteCarlo
from fledge.algorithms.value.soft_actor_critic import SoftActorCritic
from fledge.algorithms.value.tabular import Tabular
from fledge.algorithms.value.td3 import TD3
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic, Encoder
from fledge.models.control.graph_policy import graph_policy_for
from fledge.models.control.q_network import QNetwork
from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.models.control.squashed_actor import DeterministicActor, GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.optimizers import adamw
from fledge.recipes.pacing import Pace
from fledge.sample.replay import Replay, Surprise
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Space, World


class Player(Protocol):
    """What a finished algorithm is asked for: the action it thinks best.

    Of one that remembers from step to step, each `best` that is asked for begins with nothing.
    """

    @property
    def best(self) -> Callable[[Tensor], Tensor]: ...


@dataclass(frozen=True)
class Built:
    """An algorithm, who acts for it, who plays for it, the module whose weights are the result, and
    the statistics that grow.

    critic: what else another run must have to go on from here, where it is a network of its own.
    learned_world: a world that was learned, which is judged at the end.
    """

    algorithm: Any
    actor: Any
    player: Player
    module: nn.Module
    encoder: Encoder | None = None
    critic: nn.Module | None = None
    learned_world: WorldEnsemble | RecurrentWorld | None = None


class RunFields(Protocol):
    """The fields of a run that builders read."""

    @property
    def algorithm(self) -> str: ...
    @property
    def world(self) -> Any: ...
    @property
    def steps(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def copies(self) -> int: ...
    @property
    def steps_per_batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def schedule(self) -> Any: ...
    @property
    def clip(self) -> float: ...
    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def network(self) -> str: ...
    @property
    def normalise(self) -> bool: ...
    @property
    def base(self) -> Path | None: ...
    @property
    def settings(self) -> AlgorithmSettings: ...


@dataclass(frozen=True)
class Making:
    """What a builder is given. run: every field of it. expert: whom to imitate. paces: what it
    says of the learners that it made.
    """

    world: World
    run: RunFields
    stopwatch: Stopwatch
    device: torch.device
    expert: Player | None = None
    paces: list[Pace] = field(default_factory=list)

    @property
    def settings(self) -> AlgorithmSettings:
        """The algorithm's own, with as many optimizer steps as they make on a batch of the run."""
        rows = self.run.copies * self.run.steps_per_batch
        return self.run.settings.for_rows(min(rows, self.run.steps))

    @property
    def random(self) -> torch.Generator:
        """Of which rows each optimizer step takes."""
        return generator_for(self.run.seed, "batches")

    def actor_critic(self, observation: Space | None = None) -> ActorCritic:
        """Over the world's observations, or others."""
        run = self.run
        return ActorCritic(
            observation or self.world.observation,
            self.world.action,
            generator=generator_for(run.seed, "weights"),
            widths=run.widths,
            normalise=run.normalise,
            actor=self.graph_policy() if run.network == "graph" else None,
        ).to(self.device)

    def graph_policy(self) -> nn.Module:
        """Raises UserError for a body that is none."""
        generator = generator_for(self.run.seed, "weights", "graph")
        return graph_policy_for(self.world.name, generator=generator)

    def learner(
        self, module: nn.Module, steps_per_batch: float = 1, after: int = 0, times: float = 1.0
    ) -> Learner:
        """Its schedule is in world steps, the only length of a run that is known beforehand. after:
        those before it learns at all. times: of the run's learning rate.
        """
        run = self.run
        schedule = Schedule(
            times * run.learning_rate, run.steps - after, shape=run.schedule, final=0.0
        )
        learner = Learner(
            module,
            schedule,
            optimizer=adamw(betas=(0.9, 0.999), eps=1e-5, weight_decay=0.0),
            clip=run.clip,
        )
        self.paces.append(Pace(learner, steps_per_batch, after))
        return learner


Build = Callable[[Making, Any], Built]


def build_ppo(m: Making, s: PPO.Settings) -> Built:
    policy, (updates, _) = m.actor_critic(), s.count_updates()
    learner = m.learner(policy, updates)
    algorithm = PPO(policy, learner, m.stopwatch, s, generator=m.random)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_actor_critic(m: Making, s: AdvantageActorCritic.Settings) -> Built:
    policy = m.actor_critic()
    algorithm = AdvantageActorCritic(policy, m.learner(policy), m.stopwatch, s)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_reinforce(m: Making, s: Reinforce.Settings) -> Built:
    policy = m.actor_critic()
    critic = policy if s.baseline == "value" else None
    algorithm = Reinforce(policy, m.learner(policy), m.stopwatch, s, actor_critic=critic)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_importance(m: Making, s: OffPolicy.Settings) -> Built:
    """REINFORCE several times over on one batch, with weights for what has changed since it was
    sampled.
    """
    policy = m.actor_critic()
    algorithm = OffPolicy(policy, m.learner(policy, s.epochs), m.stopwatch, s)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_natural(m: Making, s: StepSettings) -> Built:
    """The natural policy gradient, or TRPO: its settings say what its step is."""
    policy, (updates, _) = m.actor_critic(), s.count_updates()
    learner = m.learner(policy.critic, updates)
    algorithm = NaturalGradient(policy, learner, m.stopwatch, s, generator=m.random)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def explore(m: Making, s: ExploringSettings) -> Exploration:
    return s.over(m.run.steps, trained=m.run.base is not None)


def build_dqn(m: Making, s: DQN.Settings) -> Built:
    network = QNetwork(
        m.world.observation, m.world.action, generator=generator_for(m.run.seed, "weights"),
        widths=m.run.widths, dueling=s.dueling, normalise=m.run.normalise,
    ).to(m.device)  # fmt: skip
    surprise = Surprise() if s.prioritised else None
    replay = Replay(s.buffer, generator=m.random, surprise=surprise)
    learner = m.learner(network, s.updates_per_step, after=s.learning_starts)
    algorithm = DQN(network, learner, m.stopwatch, s, replay=replay, exploration=explore(m, s))
    return Built(algorithm, algorithm, algorithm, network, network.normaliser)


@dataclass(frozen=True)
class Networks:
    """Of SAC and TD3: one encoder for all, so that memory keeps what was seen; the critic and its
    learner; and what both algorithms are given beside.
    """

    random: torch.Generator
    encoder: Encoder
    critic: TwinCritic
    critic_learner: Learner
    beside: dict[str, Any]


def make_networks(m: Making, s: MemorySettings) -> Networks:
    random, encoder = (
        generator_for(m.run.seed, "weights"),
        Encoder(m.world.observation, m.run.normalise),
    )
    critic = TwinCritic(
        m.world.observation, m.world.action, generator=random, widths=m.run.widths, encoder=encoder
    ).to(m.device)
    beside: dict[str, Any] = {
        "replay": Replay(s.buffer, generator=m.random),
        "generator": generator_for(m.run.seed, "noise"),
        "begins_trained": m.run.base is not None,
    }
    learner = m.learner(critic, s.updates_per_step, after=s.learning_starts)
    return Networks(random, encoder, critic, learner, beside)


def make_actor(m: Making, kind: Any, networks: Networks) -> Any:
    """Of a GaussianActor or a DeterministicActor."""
    return kind(
        m.world.observation, m.world.action, generator=networks.random, widths=m.run.widths,
        encoder=networks.encoder,
    ).to(m.device)  # fmt: skip


def build_sac(m: Making, s: SoftActorCritic.Settings) -> Built:
    made = make_networks(m, s)
    actor: GaussianActor = make_actor(m, GaussianActor, made)
    learner = m.learner(actor, s.updates_per_step, after=s.learning_starts)
    algorithm = SoftActorCritic(
        actor, made.critic, learner, made.critic_learner, m.stopwatch, s, **made.beside
    )
    return Built(algorithm, algorithm, algorithm, actor, made.encoder, made.critic)


def build_td3(m: Making, s: TD3.Settings) -> Built:
    made = make_networks(m, s)
    actor: DeterministicActor = make_actor(m, DeterministicActor, made)
    learner = m.learner(actor, s.updates_per_step / s.policy_every, after=s.learning_starts)
    algorithm = TD3(actor, made.critic, learner, made.critic_learner, m.stopwatch, s, **made.beside)
    return Built(algorithm, algorithm, algorithm, actor, made.encoder, made.critic)


class TableModule(nn.Module):
    """A table as a module, so that it is saved as weights are."""

    def __init__(self, table: ActionTable) -> None:
        super().__init__()
        self.register_buffer("q", table.q)


def build_table(m: Making, s: TableSettings) -> Built:
    """Of Tabular or MonteCarlo, whichever the settings are of."""
    kind: Any = MonteCarlo if isinstance(s, MonteCarlo.Settings) else Tabular
    table = ActionTable(
        m.world.observation, m.world.action, rate=falling_rate(0.8), exploration=explore(m, s)
    )
    return Built(kind(table, m.stopwatch, s), table, table, TableModule(table))


def build_imitation(m: Making, s: DAgger.Settings) -> Built:
    """Raises ValueError without an expert."""
    if m.expert is None:
        raise ValueError("to imitate takes an expert: give Making one.")
    policy = m.actor_critic()
    learner = m.learner(policy, s.updates_per_step)
    algorithm = DAgger(policy, m.expert, learner, m.stopwatch, s, generator=m.random)
    return Built(algorithm, algorithm, algorithm, policy, policy.encoder)


def build_goal_cloning(m: Making, s: GoalCloning.Settings) -> Built:
    """Goals are places it has been to; what a finished run plays is the way to the end of the best
    episode that it saw.
    """
    place = m.world.observation
    policy = m.actor_critic(add_goal(place, place))
    aim = Aimed(policy, place).to(m.device)

    def been_to(n: int, generator: torch.Generator) -> torch.Tensor:
        known = algorithm.labelled.obs  # [N, O + O]
        if known is None:
            return aim.goal.expand(n, *place.shape)
        drawn = (
            known[torch.randint(len(known), (n,), generator=generator)]
            .chunk(2, -1)[1]
            .view(n, *place.shape)
        )
        drawn[: n // 2] = aim.goal
        return drawn

    algorithm = GoalCloning(
        policy, m.learner(policy, s.updates_per_step), m.stopwatch, s, goals=been_to,
        generator=m.random, aim=aim,
    )  # fmt: skip
    return Built(algorithm, algorithm, aim, aim)


def build_own(m: Making, s: AlgorithmSettings) -> Built:
    """A class of the user's, over an actor and critic. Raises UserError for what goes wrong in
    it.
    """
    kind = find_own_algorithm(m.run.algorithm)
    policy = m.actor_critic()
    learner = m.learner(policy, s.count_updates()[0])
    own = kind.build(policy, learner, m.stopwatch, settings=s, generator=m.random)
    return Built(Own(own, learner, kind.path), policy, policy, policy, policy.encoder)
