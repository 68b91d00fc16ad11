"""Who plays for a finished run: its networks made anew, and its weights put into them."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from fledge.errors import UserError
from fledge.recipes.control.agent_files import Card, find_agent, put_in
from fledge.recipes.control.builders import Built, Making, Player
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.kinds import find_kind
from fledge.runs.folder import Run
from fledge.stopwatch import Stopwatch
from fledge.worlds.world import World


def load_player(folder: Path, world: World, device: torch.device) -> Player:
    """Who plays for a finished run: its best agent. The rest as `load_built`.

    Raises UserError for one that does what it does by what it has seen before.
    """
    run, best = find_agent(folder, "best")
    if run.config["algorithm"] == "dreamer":
        raise UserError(
            f"expert={folder} is dreamer's, which acts by all that it has seen in an episode, and "
            "an expert is asked about single observations: give another."
        )
    return load_built(run, best, world, device)[0].player


def load_built(
    run: Run, folder: Path, world: World, device: torch.device
) -> tuple[Built, Card | None]:
    """A finished run's agent out of one of its folders. What has imitated somebody is asked alone:
    its algorithm is None.

    Raises UserError for an agent of another world, of another version, or that is damaged.
    """
    if run.config["world"] != world.name:
        raise UserError(
            f"{run.folder} was trained in {run.config['world']}, and this is {world.name}: give a "
            "run of the same world."
        )
    try:
        config = ControlConfig.read(run.config | {"world": world.name})
    except ValidationError as error:
        wrong = error.errors()[0]
        said = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg'].lower()}"
        raise UserError(
            f"{run.folder} holds an agent of another version of fledge ({said}): train it anew."
        ) from error
    making = Making(world, config, Stopwatch(), device)
    if config.expert is None:
        built = find_kind(config.algorithm).build(making, making.settings)
    else:
        policy = making.actor_critic()
        built = Built(None, policy, policy, policy, policy.encoder)
    return built, put_in(built, folder, world)
