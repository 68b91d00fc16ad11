"""The algorithms of `fledge control` by name: how each samples, and its own settings for a kind of
world.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fledge.algorithms.likelihood.goal_cloning import Aimed, GoalCloning, add_goal
from fledge.algorithms.likelihood.imitation import DAgger
from fledge.algorithms.value.monte_carlo import MonteCarlo
from fledge.algorithms.value.tabular import expected_sarsa, q_learning, sarsa
from fledge.errors import UserError
from fledge.recipes.control.agent_files import Card, find_agent, put_in
from fledge.recipes.control.builders import (
    Built,
    Making,
    Player,
    build_actor_critic,
    build_async,
    build_dqn,
    build_importance,
    build_natural,
    build_off_policy,
    build_ppo,
    build_reinforce,
    build_tabular,
)  # fmt: skip
from fledge.runs.folder import Run
from fledge.sample.episodes import Episodes
from fledge.sample.reward_scale import RewardScale
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.sample.workers import Workers
from fledge.stopwatch import Stopwatch
from fledge.worlds.units import bounds_of
from fledge.worlds.world import Box, Choices, World


def build_imitation(m: Making, decay: float) -> Built:
    s, policy = m.settings, m.actor_critic()
    expert = load_player(s.expert, m.world, m.device, type(s).model_validate)
    algorithm = DAgger(
        policy, expert, m.learner(policy, s.updates_per_batch), m.stopwatch, generator=m.random,
        decay=decay, updates_per_step=s.updates_per_batch, rows_per_update=s.rows_per_update,
    )  # fmt: skip
    return Built(algorithm, algorithm, algorithm, policy, policy.encoder)


def build_goal_cloning(m: Making) -> Built:
    """Goals are places it has been to; what a finished run plays is the way to the end of the best
    episode that it saw.
    """
    s, place = m.settings, m.world.observation
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
        policy, m.learner(policy, s.updates_per_batch), m.stopwatch, goals=been_to,
        generator=m.random, aim=aim, relabel="future", updates_per_step=s.updates_per_batch,
        rows_per_update=s.rows_per_update,
    )  # fmt: skip
    return Built(algorithm, algorithm, aim, aim)


def load_player(
    folder: Path, world: World, device: torch.device, settings_of: Callable[[Any], Any]
) -> Player:
    """Who plays for a finished run: its best agent. The rest as `load_built`."""
    run, best = find_agent(folder, "best")
    return load_built(run, best, world, device, settings_of)[0].player


def load_built(
    run: Run, folder: Path, world: World, device: torch.device, settings_of: Callable[[Any], Any]
) -> tuple[Built, Card | None]:
    """A finished run's agent out of one of its folders. settings_of: its config as this version
    reads it; it raises ValueError for what it cannot. What has imitated somebody is asked alone:
    its algorithm is None.

    Raises UserError for an agent of another world, of another version, or that is damaged.
    """
    if run.config["world"] != world.name:
        raise UserError(
            f"{run.folder} was trained in {run.config['world']}, and this is {world.name}: give a "
            "run of the same world."
        )
    try:
        making = Making(world, settings_of(run.config | {"world": world.name}), Stopwatch(), device)
    except ValueError as error:
        raise UserError(
            f"{run.folder} holds an agent of another version of fledge ({error}): train it anew."
        ) from error
    if making.settings.expert is None:
        built = find_kind(making.settings.algorithm).build(making)
    else:
        policy = making.actor_critic()
        built = Built(None, policy, policy, policy, policy.encoder)
    return built, put_in(built, folder, world)


@dataclass(frozen=True)
class Kind:
    """build: what makes it. settings: its own values of the fields; of a kind of world, on top of
    them.

    whole_episodes: one a copy and batch, in place of `steps_per_batch` steps. workers: it samples
    in processes. tables: it wants observations that are choices. actor_critic: whether its policy
    is one, so that `network` may choose another. remembers: it learns from a replay memory.
    actions: what it can do.
    """

    build: Callable[[Making], Built]
    settings: Mapping[str, Any]
    worlds: Mapping[str, Mapping[str, Any]]
    actions: tuple[type, ...] = (Choices, Box)
    whole_episodes: bool = False
    workers: bool = False
    tables: bool = False
    actor_critic: bool = True
    remembers: bool = False

    def sampler(
        self,
        world: World,
        built: Built,
        stopwatch: Stopwatch,
        settings: Any,
        say: Callable[[str], Any] = warnings.warn,
    ) -> Any:
        """Batches for this algorithm, out of this world. `close` those that have it. say: is told
        when a worker dies.
        """
        s = settings
        if self.workers:
            return Workers(
                s.world, s.copies, built.actor, stopwatch, workers=s.workers,
                steps=s.steps_per_batch, seed=s.seed, bounds=bounds_of(world), limit=s.steps,
                say=say,
            )  # fmt: skip
        if self.whole_episodes:
            return WholeEpisodes(world, built.actor, stopwatch, seed=s.seed)
        scale = RewardScale(s.copies, s.gamma) if s.scale_rewards else None
        return Episodes(
            world, built.actor, stopwatch, steps=s.steps_per_batch, seed=s.seed, scale=scale,
            limit=s.steps,
        )  # fmt: skip


IMITATORS = ("cloning", "dagger")
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
            "vectors": {"steps_per_batch": 128, "learning_rate": 2e-3, "epochs": 6},
            "bodies": {"normalise": True, "scale_rewards": True},
        },
    ),
    "a2c": Kind(
        build_actor_critic,
        ON_POLICY | {
            "steps_per_batch": 16, "gae_lambda": 1.0, "learning_rate": 2e-3, "schedule": "linear",
        },
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "async": Kind(  # workers that do not wait
        build_async,
        ON_POLICY | {
            "steps_per_batch": 16, "gae_lambda": 1.0, "learning_rate": 2e-3, "schedule": "linear",
        },
        {},
        workers=True,
    ),
    "actor_critic": Kind(  # online: one copy, one step
        build_actor_critic,
        ON_POLICY | {
            "copies": 1, "steps_per_batch": 1, "gae_lambda": 0.0, "learning_rate": 5e-4,
            "schedule": "constant",
        },
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "reinforce": Kind(
        build_reinforce,
        ON_POLICY | {"learning_rate": 5e-3, "schedule": "constant", "gamma": 1.0},
        {"bodies": {"normalise": True}},
        whole_episodes=True,
    ),
    "off_policy": Kind(
        build_importance,
        ON_POLICY | {"epochs": 4, "learning_rate": 5e-3, "schedule": "constant", "gamma": 1.0},
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
        ON_POLICY | {
            "epochs": 10, "learning_rate": 1e-3, "schedule": "constant", "update_kl": 0.01,
        },
        {"bodies": {"normalise": True, "scale_rewards": True}},
    ),
    "dqn": Kind(
        build_dqn,
        {
            "copies": 8, "steps_per_batch": 32, "updates_per_batch": 32, "rows_per_update": 256,
            "learning_rate": 1e-3, "schedule": "linear", "gamma": 0.99, "clip": 10.0,
            "widths": (128, 128), "prioritised": True,
        },
        {"tables": {"widths": (64,), "rows_per_update": 64}},
        actions=(Choices,),
        actor_critic=False,
        remembers=True,
    ),
    **{
        name: Kind(
            lambda m, method=method: build_tabular(m, method),
            {"copies": 8, "steps_per_batch": 32, "gamma": 0.99},
            {},
            actions=(Choices,),
            tables=True,
            actor_critic=False,
        )
        for name, method in (
            ("q_learning", q_learning), ("sarsa", sarsa), ("expected_sarsa", expected_sarsa),
            ("monte_carlo", MonteCarlo),
        )
    },
    **{
        name: Kind(
            lambda m, entropy=entropy: build_off_policy(m, entropy),
            {
                "copies": 1, "steps_per_batch": 32, "updates_per_batch": 32, "rows_per_update": 256,
                "learning_rate": 3e-4, "clip": 0.0, "widths": (256, 256),
            },
            {},
            actions=(Box,),
            actor_critic=False,
            remembers=True,
        )
        for name, entropy in (("sac", True), ("td3", False))
    },
    "cloning": Kind(  # of the expert's own steps
        lambda m: build_imitation(m, decay=1.0),
        {
            "copies": 8, "steps_per_batch": 64, "updates_per_batch": 32, "rows_per_update": 64,
            "learning_rate": 1e-3,
        },
        {"bodies": {"normalise": True}},
    ),
    "goal_cloning": Kind(  # of its own steps, each right for where it led
        build_goal_cloning,
        {"copies": 8, "updates_per_batch": 32, "rows_per_update": 256, "learning_rate": 2e-3},
        {},
        whole_episodes=True,
        actor_critic=False,
    ),
    "dagger": Kind(
        lambda m: build_imitation(m, decay=0.0),
        {
            "copies": 8, "steps_per_batch": 64, "updates_per_batch": 32, "rows_per_update": 64,
            "learning_rate": 1e-3,
        },
        {"bodies": {"normalise": True}},
    ),
}  # fmt: skip


def classify_world(world: World) -> str:
    """bodies: real-numbered actions; pictures; tables: observations that are choices; vectors: the
    rest.
    """
    if isinstance(world.observation, Choices):
        return "tables"
    if world.observation.low.dtype == torch.uint8 and len(world.observation.shape) == 3:
        return "pictures"
    return "bodies" if isinstance(world.action, Box) else "vectors"


def find_kind(algorithm: str) -> Kind:
    """Raises UserError for an algorithm that there is not."""
    if algorithm in KINDS:
        return KINDS[algorithm]
    near = difflib.get_close_matches(algorithm, KINDS, n=1)
    hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(KINDS)}"
    raise UserError(f"algorithm={algorithm} was given: {hint}.")
