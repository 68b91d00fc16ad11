"""`fledge resume`: continue a run from its last whole checkpoint, with the configuration it was started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fledge import __version__
from fledge.errors import UserError
from fledge.recipes.show import Show
from fledge.recipes.verbs import VERBS
from fledge.runs.folder import Run


class ResumeConfig(BaseModel):
    """Continue a run that was stopped or killed: it ends with the same bits as if it never had been."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="the run folder")


def resume(config: ResumeConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a folder that is no run, or a run that another process is writing."""
    run = Run.open(config.run, writing=True)
    if run.summary is not None:
        show.line(f"{config.run} is finished: there is nothing to continue.")
        return run.summary
    verb = VERBS.get(run.verb)
    if verb is None or not verb.trains:
        raise UserError(f"{config.run} is a run of `fledge {run.verb}`, which cannot be continued.")
    try:
        settings = verb.config.model_validate(run.config)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(
            f"{config.run / 'config.json'} does not fit this fledge {__version__} ({'.'.join(map(str, wrong['loc']))}: "
            f"{wrong['msg'].lower()}): continue it with the version that lineage.json names, or start a new run."
        ) from error
    return verb.function(settings, show, run)
