"""The algorithms of `fledge control` by name: how each samples, and its own settings for a kind of
world.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fledge.errors import UserError
from fledge.recipes.control.adversarial import build_adversarial_imitation
from fledge.recipes.control.builders import (
    Build,
    Built,
    build_actor_critic,
    build_dqn,
    build_goal_cloning,
    build_imitation,
    build_importance,
    build_natural,
    build_own,
    build_ppo,
    build_reinforce,
    build_sac,
    build_table,
    build_td3,
)
from fledge.recipes.control.planners import (
    build_counted,
    build_dreamer,
    build_model_predictive,
    build_posterior_sampling,
)
from fledge.sample.episodes import Episodes
from fledge.sample.reward_scale import RewardScale
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.sample.workers import Workers
from fledge.stopwatch import Stopwatch
from fledge.worlds.units import bounds_of
from fledge.worlds.world import Box, Choices, World


@dataclass(frozen=True)
class AgentKind:
    """build: what makes it. usual: its own defaults of the verb's fields; worlds: of any field, in
    a kind of world.

    whole_episodes: one a copy and batch, in place of `steps_per_batch` steps. workers: it samples
    in processes. tables: it wants observations that are choices. pictures: it has a convolution for
    them. actor_critic: whether its policy
    is one, so that `network` may choose another.
    actions: what it can do.
    """

    build: Build
    usual: Mapping[str, Any] = field(default_factory=dict)
    worlds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    actions: tuple[type, ...] = (Choices, Box)
    whole_episodes: bool = False
    workers: bool = False
    tables: bool = False
    pictures: bool = False
    actor_critic: bool = True

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
        discount = getattr(s.settings, "gamma", 0.99)  # a user's own algorithm may have none
        scale = RewardScale(s.copies, discount) if s.scale_rewards else None
        return Episodes(
            world, built.actor, stopwatch, steps=s.steps_per_batch, seed=s.seed, scale=scale,
            limit=s.steps,
        )  # fmt: skip


IMITATORS = ("cloning", "dagger", "gail", "airl")
SCALED = {"bodies": {"normalise": True, "scale_rewards": True}}
NORMALISED = {"bodies": {"normalise": True}}
LONG = {"steps_per_batch": 256}
ON_LINE = {"steps_per_batch": 16, "learning_rate": 2e-3, "schedule": "linear"}
TABLE = AgentKind(
    build_table, actions=(Choices,), tables=True, actor_critic=False,
)  # fmt: skip
COUNTED = replace(TABLE, build=build_counted)
CONTINUOUS = {"copies": 1, "learning_rate": 3e-4, "clip": 0.0, "widths": (256, 256)}
ADVERSARIAL = AgentKind(
    build_adversarial_imitation, LONG | {"learning_rate": 3e-4, "schedule": "linear"},
    NORMALISED | {"vectors": {"steps_per_batch": 128, "learning_rate": 2e-3, "epochs": 6}},
)  # fmt: skip
KINDS: dict[str, AgentKind] = {
    "ppo": AgentKind(
        build_ppo,
        LONG | {"learning_rate": 3e-4, "schedule": "linear"},
        SCALED | {"vectors": {"steps_per_batch": 128, "learning_rate": 2e-3, "epochs": 6}},
    ),
    "a2c": AgentKind(build_actor_critic, ON_LINE, SCALED),
    "async": AgentKind(build_actor_critic, ON_LINE, workers=True),  # workers that do not wait
    "actor_critic": AgentKind(  # online: one copy, one step
        build_actor_critic, {"copies": 1, "steps_per_batch": 1, "learning_rate": 5e-4}, SCALED,
    ),
    "reinforce": AgentKind(
        build_reinforce, LONG | {"learning_rate": 5e-3}, NORMALISED, whole_episodes=True,
    ),
    "off_policy": AgentKind(
        build_importance, LONG | {"learning_rate": 5e-3}, NORMALISED, whole_episodes=True,
    ),
    "natural": AgentKind(build_natural, LONG, SCALED),
    "trpo": AgentKind(build_natural, LONG, SCALED),
    "dqn": AgentKind(
        build_dqn,
        {"schedule": "linear", "clip": 10.0, "widths": (128, 128)},
        {"tables": {"widths": (64,), "rows_per_update": 64}},
        actions=(Choices,), pictures=True, actor_critic=False,
    ),
    "q_learning": TABLE,
    "sarsa": TABLE,
    "expected_sarsa": TABLE,
    "monte_carlo": TABLE,
    "dyna": COUNTED,
    "prioritised_sweeping": COUNTED,
    "psrl": replace(TABLE, build=build_posterior_sampling, usual={"copies": 1}),
    "mpc": AgentKind(
        build_model_predictive,
        {
            "copies": 1, "steps_per_batch": 25, "evaluation_episodes": 5, "clip": 0.0,
            "steps": 2_000,
        },
        {"bodies": {"horizon": 20, "rounds": 4, "candidates": 100, "kept": 10}},
        actor_critic=False,
    ),
    "sac": AgentKind(build_sac, CONTINUOUS, actions=(Box,), actor_critic=False),
    "td3": AgentKind(build_td3, CONTINUOUS, actions=(Box,), actor_critic=False),
    "dreamer": AgentKind(
        build_dreamer,
        {
            "copies": 4, "steps_per_batch": 16, "learning_rate": 6e-4, "clip": 100.0,
            "steps": 10_000,
        },
        pictures=True, actor_critic=False,
    ),
    "cloning": AgentKind(  # of the expert's own steps
        build_imitation, {"steps_per_batch": 64}, NORMALISED,
    ),
    "dagger": AgentKind(build_imitation, {"steps_per_batch": 64}, NORMALISED),
    "gail": ADVERSARIAL,
    "airl": ADVERSARIAL,
    "goal_cloning": AgentKind(  # of its own steps, each right for where it led
        build_goal_cloning, {"learning_rate": 2e-3}, whole_episodes=True, actor_critic=False,
    ),
}  # fmt: skip
OWN = AgentKind(build_own, LONG)  # a class of the user's, over an actor and critic


def classify_world(world: World) -> str:
    """bodies: real-numbered actions; pictures; tables: observations that are choices; vectors: the
    rest.
    """
    if isinstance(world.observation, Choices):
        return "tables"
    if world.observation.low.dtype == torch.uint8 and len(world.observation.shape) == 3:
        return "pictures"
    return "bodies" if isinstance(world.action, Box) else "vectors"


def find_kind(algorithm: str) -> AgentKind:
    """Of a name, or of FILE.py:Class. Raises UserError for an algorithm that there is not."""
    if ".py:" in algorithm:
        return OWN
    if algorithm in KINDS:
        return KINDS[algorithm]
    near = difflib.get_close_matches(algorithm, KINDS, n=1)
    hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(KINDS)}"
    raise UserError(f"algorithm={algorithm} was given: {hint}.")
