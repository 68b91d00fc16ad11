"""The algorithms of `fledge control` by name: what each is made of, how it samples, and its own settings for a kind of world."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fledge.algorithms.actor_critic import AdvantageActorCritic
from fledge.algorithms.dqn import DQN, Exploration
from fledge.algorithms.imitation import DAgger
from fledge.algorithms.natural_gradient import FixedRate, NaturalGradient, NaturalGradientSettings
from fledge.algorithms.ppo import PPO, PPOSettings
from fledge.algorithms.reinforce import Reinforce
from fledge.algorithms.trpo import TrustRegion
from fledge.errors import UserError
from fledge.learner import Learner, Schedule
from fledge.models.actor_critic import ActorCritic, Encoder
from fledge.models.q_network import QNetwork
from fledge.runs.folder import Run
from fledge.sample.replay import Replay, Surprise
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import Box, Choices, World


class Player(Protocol):
    """What a finished algorithm is asked for: the action it thinks best."""

    def best(self, obs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Built:
    """An algorithm, who acts for it, who plays for it, the module whose weights are the result, and the statistics that grow."""

    algorithm: Any
    actor: Any
    player: Player
    module: nn.Module
    encoder: Encoder | None = None


@dataclass(frozen=True)
class Making:
    """What a builder is given. settings: every field of the run. optimizer_steps: how many there will be."""

    world: World
    settings: Any
    updates: int
    stopwatch: Stopwatch
    device: torch.device

    @property
    def random(self) -> torch.Generator:
        """Of the algorithm's own draws; of the weights, another."""
        return torch.Generator().manual_seed(self.settings.seed + 1)

    def actor_critic(self) -> ActorCritic:
        s = self.settings
        return ActorCritic(
            self.world.observation,
            self.world.action,
            generator=torch.Generator().manual_seed(s.seed),
            widths=s.widths,
            normalise=s.normalise,
            actor=body_network(self.world, s) if s.network == "graph" else None,
        ).to(self.device)

    def learner(self, module: nn.Module, steps_per_update: int = 1) -> Learner:
        s = self.settings
        schedule = Schedule(s.learning_rate, self.updates * steps_per_update, shape=s.schedule, final=0.0)
        return Learner(module, schedule, betas=(0.9, 0.999), eps=1e-5, weight_decay=0.0, clip=s.clip)


def body_network(world: World, settings: Any) -> nn.Module:
    """A graph network over the joints of a MuJoCo body. Raises UserError for a world without one."""
    from fledge.models.graph_policy import graph_policy_for

    return graph_policy_for(world.name, generator=torch.Generator().manual_seed(settings.seed + 2))


def updates_in(settings: Any) -> int:
    """Optimizer steps on one batch: its steps, `rows_per_update` at a time, `epochs` times over."""
    pieces = max(1, settings.copies * settings.steps_per_batch // settings.rows_per_update)
    return pieces * settings.epochs


def build_ppo(m: Making) -> Built:
    s, policy = m.settings, m.actor_critic()
    per_batch = updates_in(s)
    chosen = PPOSettings(
        gamma=s.gamma, gae_lambda=s.gae_lambda, clip_low=s.clip_range, clip_high=s.clip_range, value_clip=s.value_clip,
        value_coefficient=s.value_coefficient, entropy_coefficient=s.entropy_coefficient, epochs=s.epochs,
        updates_per_step=per_batch, target_kl=s.update_kl, rows="steps",
    )  # fmt: skip
    algorithm = PPO(policy, m.learner(policy, per_batch), m.stopwatch, chosen, generator=m.random)
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_actor_critic(m: Making, truncate_at: float | None = None) -> Built:
    s, policy = m.settings, m.actor_critic()
    algorithm = AdvantageActorCritic(
        policy, m.learner(policy), m.stopwatch, gamma=s.gamma, gae_lambda=s.gae_lambda,
        value_coefficient=s.value_coefficient, entropy_coefficient=s.entropy_coefficient, truncate_at=truncate_at,
    )  # fmt: skip
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_reinforce(m: Making) -> Built:
    s, policy = m.settings, m.actor_critic()
    algorithm = Reinforce(policy, m.learner(policy), m.stopwatch, baseline=s.baseline, gamma=s.gamma)  # pyright: ignore[reportArgumentType]
    return Built(algorithm, policy, policy, policy, policy.encoder)


def build_natural(m: Making, trust_region: bool) -> Built:
    s, policy = m.settings, m.actor_critic()
    per_batch = updates_in(s)
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
        m.world.observation, m.world.action, generator=torch.Generator().manual_seed(s.seed), widths=s.widths,
        dueling=s.dueling,
    ).to(m.device)  # fmt: skip
    surprise = Surprise(draws=m.updates * s.updates_per_batch) if s.prioritised else None
    algorithm = DQN(
        network, m.learner(network, s.updates_per_batch), m.stopwatch,
        replay=Replay(s.buffer, generator=m.random, surprise=surprise), gamma=s.gamma, n_step=s.n_step,
        updates_per_step=s.updates_per_batch, rows_per_update=s.rows_per_update, target_every=s.target_every,
        double=s.double, exploration=Exploration(last=s.last_epsilon, world_steps=int(s.exploration_share * s.steps)),
        learning_starts=s.learning_starts,
    )  # fmt: skip
    return Built(algorithm, algorithm, algorithm, network)


def build_imitation(m: Making, decay: float) -> Built:
    s, policy = m.settings, m.actor_critic()
    if s.expert is None:
        raise UserError(
            f"algorithm={s.algorithm} was given without an expert: give expert=RUN, a finished run of `fledge control` in this world."
        )
    expert = load_player(s.expert, m.world, m.device)
    algorithm = DAgger(
        policy, expert, m.learner(policy, s.updates_per_batch), m.stopwatch, generator=m.random, decay=decay,
        updates_per_step=s.updates_per_batch, rows_per_update=s.rows_per_update,
    )  # fmt: skip
    return Built(algorithm, algorithm, algorithm, policy, policy.encoder)


def load_player(folder: Path, world: World, device: torch.device) -> Player:
    """Who plays for a finished run. Raises UserError for a folder that is none, or is of another world."""
    run = Run.open(folder)
    weights = run.model_folder / "model.safetensors"
    if run.verb != "control" or not weights.is_file():
        raise UserError(f"{folder} holds no agent: give a finished run of `fledge control`.")
    if run.config["world"] != world.name:
        raise UserError(
            f"{folder} was trained in {run.config['world']}, and this is {world.name}: give a run of the same world."
        )
    settings = SimpleNamespace(**run.config)
    built = kind_for(settings.algorithm).build(Making(world, settings, 1, Stopwatch(), device))
    built.module.load_state_dict(load_file(weights))
    return built.player


@dataclass(frozen=True)
class Kind:
    """build: what makes it. settings: its own values of the fields; of a kind of world, on top of them.

    whole_episodes: one a copy and batch, in place of `steps_per_batch` steps. workers: it samples in processes. actions: what it can do.
    """

    build: Callable[[Making], Built]
    settings: Mapping[str, Any]
    worlds: Mapping[str, Mapping[str, Any]]
    actions: tuple[type, ...] = (Choices, Box)
    whole_episodes: bool = False
    workers: bool = False


ON_POLICY = {
    "copies": 8,
    "steps_per_batch": 256,
    "rows_per_update": 256,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip": 0.5,
}
KINDS: dict[str, Kind] = {
    "ppo": Kind(
        build_ppo,
        ON_POLICY | {"epochs": 10, "learning_rate": 3e-4, "schedule": "linear"},
        {
            "vectors": {"steps_per_batch": 128, "learning_rate": 2e-3},
            "bodies": {"normalise": True, "scale_rewards": True},
        },
    ),
    "a2c": Kind(
        build_actor_critic,
        ON_POLICY | {"steps_per_batch": 16, "gae_lambda": 1.0, "learning_rate": 2e-3, "schedule": "linear"},
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "async": Kind(  # workers that do not wait; what they send is weighed for being a little old
        lambda m: build_actor_critic(m, truncate_at=1.0),
        ON_POLICY | {"steps_per_batch": 16, "gae_lambda": 1.0, "learning_rate": 2e-3, "schedule": "linear"},
        {},
        workers=True,
    ),
    "actor_critic": Kind(  # online: one copy, one step
        build_actor_critic,
        ON_POLICY | {"copies": 1, "steps_per_batch": 1, "gae_lambda": 0.0, "learning_rate": 5e-4, "schedule": "constant"},
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "reinforce": Kind(
        build_reinforce,
        ON_POLICY | {"learning_rate": 5e-3, "schedule": "constant", "gamma": 1.0},
        {"bodies": {"normalise": True}},
        whole_episodes=True,
    ),
    "natural": Kind(
        lambda m: build_natural(m, trust_region=False),
        ON_POLICY | {"epochs": 10, "learning_rate": 1e-3, "schedule": "constant"},
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "trpo": Kind(
        lambda m: build_natural(m, trust_region=True),
        ON_POLICY | {"epochs": 10, "learning_rate": 1e-3, "schedule": "constant", "update_kl": 0.01},
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "dqn": Kind(
        build_dqn,
        {
            "copies": 8, "steps_per_batch": 32, "updates_per_batch": 128, "rows_per_update": 64, "learning_rate": 1e-3,
            "schedule": "linear", "gamma": 0.99, "clip": 10.0, "widths": (128, 128),
        },
        {},
        actions=(Choices,),
    ),
    "cloning": Kind(  # of the expert's own steps
        lambda m: build_imitation(m, decay=1.0),
        {"copies": 8, "steps_per_batch": 64, "updates_per_batch": 32, "rows_per_update": 64, "learning_rate": 1e-3},
        {"bodies": {"normalise": True}},
    ),
    "dagger": Kind(
        lambda m: build_imitation(m, decay=0.0),
        {"copies": 8, "steps_per_batch": 64, "updates_per_batch": 32, "rows_per_update": 64, "learning_rate": 1e-3},
        {"bodies": {"normalise": True}},
    ),
}  # fmt: skip


def kind_of_world(world: World) -> str:
    """bodies: real-numbered actions; pictures; tables: observations that are choices; vectors: the rest."""
    if isinstance(world.observation, Choices):
        return "tables"
    if world.observation.low.dtype == torch.uint8 and len(world.observation.shape) == 3:
        return "pictures"
    return "bodies" if isinstance(world.action, Box) else "vectors"


def kind_for(algorithm: str) -> Kind:
    """Raises UserError for an algorithm that there is not."""
    if algorithm in KINDS:
        return KINDS[algorithm]
    near = difflib.get_close_matches(algorithm, KINDS, n=1)
    hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(KINDS)}"
    raise UserError(f"algorithm={algorithm} was given: {hint}.")
