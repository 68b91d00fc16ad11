"""Opens what a run has left: its model, its agent, its reward model, the run itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from fledge.errors import UserError
from fledge.front.encoder_model import EncoderModel
from fledge.front.model import Model
from fledge.front.reward_model import RewardModel
from fledge.front.trained_run import TrainedRun
from fledge.hub.folder import load_labeller as read_encoder
from fledge.hub.folder import load_model
from fledge.hub.folder import load_reward_model as load_scored
from fledge.hub.own_families import use_family
from fledge.recipes.control import agents
from fledge.recipes.control.agents import Agent
from fledge.runs.lineage import run_of, verb_of

HAVE_OTHER_MODELS = (
    ("fit", "has what was fitted"),
    ("imagine", "draws what it has learned"),
    ("solve", "has the strategy"),
    ("selfplay", "plays"),
)


def load(folder: str | Path, *, family: str | Path | None = None) -> Model:
    """The language model of a run or of a model folder, ready to speak.

    family: a .py file that registers the model's family, where fledge does not know it.

    Raises UserError where there is none: for a run of `fledge.control` give `fledge.load_agent`,
    for one of `fledge.reward` `fledge.load_reward_model`.
    """
    if not isinstance(folder, str | os.PathLike):
        raise UserError(f"{str(folder)[:40]!r} was given: give a run, a model folder or a file.")
    place = Path(folder).expanduser()
    verb = verb_of(run_of(place))
    for other, has in HAVE_OTHER_MODELS:
        if verb == other:
            raise UserError(
                f"{folder} is a run of `fledge {other}`, and no model that speaks: "
                f"fledge.open_run({str(folder)!r}).model {has}."
            )
    for other, instead in (("control", "load_agent"), ("reward", "load_reward_model")):
        if verb == other:
            raise UserError(
                f"{folder} is a run of `fledge {other}`, and no model that speaks: "
                f"fledge.{instead}({str(folder)!r}) opens it."
            )
    if family is not None:
        use_family(Path(family).expanduser())
    return Model(load_model(place))


def load_agent(
    run: str | Path, which: Literal["best", "last"] = "best", *, world: Any = None, seed: int = 0
) -> Agent:
    """The agent of a finished run of `fledge.control`: `agent.act(observation)` plays.

    world: where the run's was an object of Python's, that object again.
    """
    return agents.load_agent(Path(run).expanduser(), which, world=world, seed=seed)


def load_encoder(folder: str | Path) -> EncoderModel:
    """The encoder of a run or of a model folder, as BERT is: `.embed(text)` gives vectors. Raises
    UserError for another kind of model.
    """
    return EncoderModel(read_encoder(Path(folder).expanduser()))


def load_reward_model(folder: str | Path) -> RewardModel:
    """The reward model of a run of `fledge.reward`: `.score(prompt, completion)`."""
    return RewardModel(*load_scored(Path(folder).expanduser()))


def open_run(folder: str | Path) -> TrainedRun:
    """A run that was made before, in this process or another, finished or not."""
    return TrainedRun(Path(folder).expanduser())
