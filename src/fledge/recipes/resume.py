"""`fledge resume`: continue a run from its last whole checkpoint, with the configuration it was started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

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
    return verb.function(verb.config.model_validate(run.config), show, run)
