"""`fledge resume`: continue a run from its last whole checkpoint, with the configuration it was
started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fledge import __version__, ranks
from fledge.cli.verbs import VERBS, Verb
from fledge.errors import UserError
from fledge.recipes.carry_on import carry_on, is_as_it_was_finished
from fledge.runs.folder import Allowed, Run
from fledge.runs.provenance import start_folder
from fledge.runs.show import Show


class ResumeConfig(BaseModel):
    """Continue a run that was stopped or killed: it ends with the same bits as if it never had
    been.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="the run folder")
    accept_changes: bool = Field(
        default=False,
        description="go on although data, base or code have changed since; lineage.json records it",
    )
    from_start: bool = Field(
        default=False,
        description=(
            "begin again at step 0 where no checkpoint is whole; what was there is set aside"
        ),
    )


def resume(
    config: ResumeConfig, show: Show, given: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """given: fields whose values are objects of Python's, which the run's config.json has by name.

    Raises UserError for a folder that is no run, for a run that another process is writing, and
    for one whose inputs have changed.
    """
    if not ranks.is_first():
        return resume_beside_first(show)
    folder, start = config.run, start_folder(Run.open(config.run).lineage)
    if start != Path.cwd():  # names in its configuration are meant from there
        folder = folder.absolute()
    with chdir(start), Run.open(folder, writing=True) as run:
        run.allowed = Allowed(changes=config.accept_changes, restart=config.from_start)
        if not run.finished or not is_as_it_was_finished(run):
            verb = VERBS.get(run.verb)
            if verb is None or not verb.trains:
                raise UserError(
                    f"{config.run} is a run of `fledge {run.verb}`, which cannot be continued."
                )
            settings = settings_of(run, verb, given)

            def go() -> dict[str, Any]:
                tell_others(run)
                return verb.function(settings, show, run)

            return carry_on(run, go, show)
        tell_others(None)
        show.line(f"{config.run} is finished: there is nothing to continue.")
        return run.summary or {}


def tell_others(run: Run | None) -> None:
    """What the first rank knows of the run, where there are several; None: it is finished."""
    if ranks.world() > 1:
        from fledge.scale.resumed import tell_others

        tell_others(run)


def resume_beside_first(show: Show) -> dict[str, Any]:
    """The work of a rank that writes no run."""
    from fledge.scale.resumed import hear_of_run

    with hear_of_run() as run:
        verb = VERBS[run.verb]
        return verb.function(settings_of(run, verb, {}), show, run)


def settings_of(run: Run, verb: Verb, given: Mapping[str, Any]) -> Any:
    """The run's configuration as this version reads it. Raises UserError for one that it cannot."""
    try:
        return verb.config_for(run.config).model_validate({**run.config, **given})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(
            f"{run.folder / 'config.json'} does not fit this fledge {__version__} "
            f"({'.'.join(map(str, wrong['loc']))}: {wrong['msg'].lower()}): continue it with the "
            "version that lineage.json names, or start a new run."
        ) from error
