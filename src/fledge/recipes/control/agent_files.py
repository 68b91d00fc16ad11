"""A trained agent in its folder and back: weights and `agent.json`, who it is.

A run of `fledge control` has two at most: `model/`, as it was after the last step, and `best/`, as
it was at the evaluation that it did best in, where that was not the last one. What is in `best/` is
told by its own card alone: the log may be that of another way, where a run went on from before that
evaluation.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fledge.errors import UserError
from fledge.recipes.control.builders import Built
from fledge.runs.folder import Run
from fledge.runs.lineage import is_of_a_run
from fledge.runs.model_files import (
    check_model,
    find_standing_model,
    hashes_of,
    write_model,
)
from fledge.system_errors import out_of_memory
from fledge.tensor_file import write_tensors
from fledge.worlds.units import bounds_of, check_bounds
from fledge.worlds.world import World

Which = Literal["best", "last"]
WEIGHTS, CRITIC, CARD = "model.safetensors", "critic.safetensors", "agent.json"


class Card(BaseModel):
    """agent.json. bounds: what −1 and 1 stand for in each part of an action, null where the world
    is told as it is.

    spread: of the returns that rewards were divided by, as `RewardScale` counts it; the critic's
        values are in its units.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    algorithm: str
    world: str
    world_steps: int
    evaluation_return: float
    bounds: list[list[float | None]] | None
    spread: tuple[float, float, float] | None = None


def make_card(config: Any, world: World, sampler: Any, evaluation_return: float) -> Card:
    """Of the agent as it is now."""
    bounds, scale = bounds_of(world), getattr(sampler, "scale", None)
    ends = None
    if bounds is not None:
        ends = [[x if math.isfinite(x) else None for x in end.flatten().tolist()] for end in bounds]
    return Card(
        algorithm=config.algorithm, world=world.name, world_steps=sampler.taken,
        evaluation_return=evaluation_return, bounds=ends,
        spread=None if scale is None else (scale.count, scale.mean, scale.squares),
    )  # fmt: skip


def write_agent(folder: Path, built: Built, card: Card) -> None:
    """Its files, into a folder that is there. Raises OSError."""
    write_tensors(folder / WEIGHTS, _make_contiguous(built.module))
    if built.critic is not None:
        write_tensors(folder / CRITIC, _make_contiguous(built.critic))
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def keep_best(run: Run, built: Built, card: Card) -> None:
    """Its files in place of those of the best before. Raises OSError, these intact."""
    with write_model(run.folder / "best") as beside:
        write_agent(beside, built, card)


def _make_contiguous(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in module.state_dict().items()}


def find_agent(given: Path, which: Which | None = None) -> tuple[Run, Path]:
    """The run, and the folder of its agent. given: a run, or an agent's folder in it.

    which: best is the last one too where no evaluation was better. Raises UserError where there is
        none.
    """
    given = Path(given)
    if which is None and is_of_a_run(given):
        given, which = given.parent, "best" if given.name == "best" else "last"
    run = Run.open(given)
    best, last = (find_standing_model(given / name) for name in ("best", "model"))
    had_one = (best / WEIGHTS).is_file() or hashes_of(
        best
    ).exists()  # a lost one is not the last one
    folder = best if which == "best" and had_one else last
    if run.verb != "control" or not (last / WEIGHTS).is_file():
        raise UserError(f"{given} holds no agent: give a finished run of `fledge control`.")
    check_model(folder)
    return run, folder


def read_card(folder: Path) -> Card | None:
    """None for an agent of a time before there were any. Raises UserError for one that cannot be
    read.
    """
    try:
        return Card.model_validate_json((folder / CARD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{folder / CARD} is damaged: train the agent anew, or put the file back."
        ) from error


def put_in(built: Built, folder: Path, world: World) -> Card | None:
    """The weights of an agent's folder, into networks made for it.

    Raises UserError where they do not fit, are damaged, or have learned to act between other
    bounds.
    """
    card, now = read_card(folder), bounds_of(world)
    saved = None
    if card is not None and card.bounds is not None and now is not None:
        saved = (
            _bounds(card.bounds).view(now.shape)
            if len(card.bounds[0]) == now[0].numel()
            else torch.empty(2, 0)
        )
    check_bounds(saved, now, world.name)
    try:
        built.module.load_state_dict(load_file(folder / WEIGHTS))
        if built.critic is not None and (folder / CRITIC).is_file():
            built.critic.load_state_dict(load_file(folder / CRITIC))
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        raise UserError(
            f"{folder} holds an agent of another version of fledge or of {world.name}, or a broken "
            f"file ({' '.join(str(error).split())[:200]}): train it anew."
        ) from error
    return card


def _bounds(ends: list[list[float | None]]) -> Tensor:
    """[2, A]"""
    infinite = (-math.inf, math.inf)
    return torch.tensor(
        [[far if x is None else x for x in end] for far, end in zip(infinite, ends, strict=True)]
    )
