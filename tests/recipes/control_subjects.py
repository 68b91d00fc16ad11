"""Every algorithm of `fledge control` as its run would make it, small, in a world that it can act in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fledge.recipes.control import ControlConfig, prepared
from fledge.recipes.control_builders import Built, Making
from fledge.recipes.control_kinds import IMITATORS, KINDS, Kind, kind_for
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.world import Choices, World

ALGORITHMS = tuple(KINDS)


@dataclass(frozen=True)
class Subject:
    config: ControlConfig
    kind: Kind
    world: World
    built: Built
    sampler: Any


def world_for(algorithm: str) -> str:
    """A gridworld where numbered actions will do, and a pendulum where they must be real."""
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
    if KINDS[algorithm].remembers:
        own["learning_starts"] = 16
    if algorithm in IMITATORS:
        own["expert"] = expert
    config = prepared(ControlConfig(**(own | fields)))
    kind = kind_for(algorithm)
    with closing(make_world(config.world, config.copies or 1)) as world:
        batch = (config.copies or 1) * (config.steps_per_batch or 1)
        built = kind.build(Making(world, config, -(-config.steps // batch), Stopwatch(), torch.device("cpu")))
        sampler = kind.sampler(world, built, Stopwatch(), config)
        try:
            yield Subject(config, kind, world, built, sampler)
        finally:
            if kind.workers:
                sampler.close()
