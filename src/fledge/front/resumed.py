"""Continues a run in Python, with what it was given as an object given again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fledge.cli.resume import resume
from fledge.errors import UserError
from fledge.front.call import look
from fledge.front.trained_run import TrainedRun
from fledge.runs.folder import Run
from fledge.tasks.given import GivenTask, split_name
from fledge.user_code import FROM_PYTHON


def resume_run(
    run: str | Path | TrainedRun,
    *,
    reward: Callable[..., Any] | None,
    world: Any,
    verbose: bool,
    fields: Mapping[str, Any],
) -> TrainedRun:
    """Raises UserError for a run that cannot be continued, and for an object that it does not
    need.
    """
    folder = run.folder if isinstance(run, TrainedRun) else Path(run).expanduser()
    config, given = Run.open(folder).config, {}
    if reward is not None:
        parts = split_name(str(config.get("task")))
        if parts is None:
            raise UserError(
                f"{folder} was given no function to judge by, so it needs none: leave reward out."
            )
        given["task"] = GivenTask(parts[2], reward)
    if world is None and isinstance(run, TrainedRun):
        world = run.given.get("world")
    if world is not None:
        if not str(config.get("world")).startswith(FROM_PYTHON):
            raise UserError(
                f"{folder} was given no world as an object, so it needs none: leave world out."
            )
        given["world"] = world
    look("resume", {"run": folder, **fields}, verbose=verbose, ask=partial(resume, given=given))
    objects = {"world": world} if world is not None else {}
    return TrainedRun(folder, given=objects)
