"""Every algorithm of `fledge control` as its run would make it, small, in a world that it can act
in.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fledge.recipes.control.agent_run import prepare
from fledge.recipes.control.builders import Built, Making
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.recipes.control.kinds import IMITATORS, KINDS, AgentKind, find_kind
from fledge.recipes.control.loading import load_player
from fledge.recipes.pacing import Pace
from fledge.runs.show import Show
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.world import Choices, World

ALGORITHMS = tuple(KINDS)


@dataclass(frozen=True)
class Subject:
    config: ControlConfig
    kind: AgentKind
    world: World
    built: Built
    sampler: Any
    paces: list[Pace]


SEES_NUMBERS = {"mpc", "dreamer"}  # worlds that are learned by regression


def world_for(algorithm: str) -> str:
    """A gridworld where numbered actions will do, and a pendulum where they must be real."""
    if algorithm in SEES_NUMBERS:
        return "CartPole-v1"
    return "gridworld" if Choices in KINDS[algorithm].actions else "Pendulum-v1"


@contextmanager
def subject(algorithm: str, expert: Path | None = None, **fields: Any) -> Iterator[Subject]:
    """expert: of those that imitate."""
    own: dict[str, Any] = {
        "algorithm": algorithm,
        "world": world_for(algorithm),
        "widths": (8,),
        "copies": 2,
        "steps": 64,
    }
    if "learning_starts" in ControlConfig.compose(own).model_fields:
        own["learning_starts"] = 16
    if algorithm in IMITATORS:
        own["expert"] = expert
    config = prepare(ControlConfig.read(own | fields))
    kind = find_kind(algorithm)
    with closing(make_world(config.world, config.copies)) as world:
        cpu = torch.device("cpu")
        imitated = None if config.expert is None else load_player(config.expert, world, cpu)
        making = Making(world, config, Stopwatch(), cpu, imitated)
        built = kind.build(making, making.settings)
        if kind.workers:  # one, in this process: what it sends is the same
            kind = replace(kind, workers=False)
        yield Subject(
            config,
            kind,
            world,
            built,
            kind.sampler(world, built, Stopwatch(), config),
            making.paces,
        )


def an_expert(folder: Path) -> Path:
    """A finished run in the world that imitators act in."""
    config = ControlConfig(
        algorithm="ppo", world="gridworld", steps=64, copies=2, steps_per_batch=16, widths=(8,),
        evaluation_episodes=1, pictures=False, out=folder,
    )  # fmt: skip
    control(config, Show(Console(file=io.StringIO())))
    return folder
