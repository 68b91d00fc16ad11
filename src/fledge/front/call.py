"""Asks a verb as the command line does, with keyword arguments in place of words: the same fields,
the same checks, the same function.
"""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from fledge.cli.parsing import redirect, strip_algorithm, validate
from fledge.cli.verbs import VERBS
from fledge.errors import UserError
from fledge.front.given import GivenFolder, Task, name_class
from fledge.front.trained_run import TrainedRun
from fledge.runs.show import Show
from fledge.tasks.given import check_reward
from fledge.user_code import runs_now

# What a verb takes in Python beside its fields.
_ALSO = ("verbose", "prompts", "reward", "world")
Ask = Callable[[Any, Show], dict[str, Any]]


def run(name: str, fields: Mapping[str, Any], *, verbose: bool) -> TrainedRun:
    """A verb that trains. Raises UserError for a mistake, as a command line would say it."""
    if runs_now():
        raise UserError(
            f"fledge.{name} was called while a file was run to read a class or a function from it: "
            'put what the file itself runs under `if __name__ == "__main__":`.'
        )
    given = take_judge(name, fields)
    if isinstance(given.get("algorithm"), type):
        given["algorithm"] = name_class(given["algorithm"])
    name, given = redirect(name, strip_algorithm(VERBS[name].config, given))
    place = GivenFolder(name, given.get("out"))
    summary, notes = _ask(name, given, place, VERBS[name].function, verbose=verbose)
    objects = {"world": given["world"]} if not isinstance(given.get("world", ""), str) else {}
    return TrainedRun(Path(summary["run"]), notes=notes, given=objects)


def look(
    name: str, fields: Mapping[str, Any], *, verbose: bool, ask: Ask | None = None
) -> dict[str, Any]:
    """A verb that looks at what there is: what the command line gives with --json. `ask`: in place
    of its function.
    """
    given = take_judge(name, fields)
    with TemporaryDirectory(prefix="fledge-") as folder:
        place = GivenFolder(name, Path(folder))
        return _ask(name, given, place, ask or VERBS[name].function, verbose=verbose)[0]


def _ask(
    name: str, given: Mapping[str, Any], place: GivenFolder, function: Ask, *, verbose: bool
) -> tuple[dict[str, Any], str]:
    """What the verb's function returns, and the lines that it spoke."""
    verb = VERBS[name]
    check_keywords(name, verb.config_for(given).model_fields, given)
    with take_back_unless_run(place), speak(verbose) as (show, spoken):
        fields = {field: place.settle(field, value) for field, value in given.items()}
        if verb.trains and place.folder is not None:
            fields["out"] = place.out
        return function(validate(name, verb, fields), show), spoken.getvalue()


@contextmanager
def take_back_unless_run(place: GivenFolder) -> Iterator[None]:
    """What was written for a run that did not come to be is removed, and mistakes in it are said of
    what was given.
    """
    try:
        yield
    except UserError as error:
        place.take_back()
        said = place.name_plainly(str(error))
        if said == str(error):
            raise
        raise type(error)(said) from error
    except BaseException:
        place.take_back()
        raise


@contextmanager
def speak(verbose: bool) -> Iterator[tuple[Show, io.StringIO]]:
    """Quiet, with the lines kept, unless `verbose`: then on standard output, and none are kept."""
    spoken = io.StringIO()
    quiet = Console(
        file=spoken, width=100, force_terminal=False, force_jupyter=False, markup=False, emoji=False
    )
    loud = Console(file=sys.stdout, force_jupyter=False, markup=False, emoji=False)
    yield Show(loud if verbose else quiet), spoken


def take_judge(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with prompts and a function that judges as the one field `task`.

    Raises UserError for one of them alone, and for a function beside a task that judges itself.
    """
    given = dict(fields)
    if "reward" in VERBS[name].config.model_fields and callable(given.get("reward")):
        reward = given.pop("reward")
    else:
        reward = None
    own_field = "prompts" in VERBS[name].config.model_fields
    prompts = None if own_field else given.pop("prompts", None)
    if reward is None and prompts is None:
        return given
    if prompts is None and isinstance(given.get("task"), str) and given["task"].endswith(".jsonl"):
        prompts = given.pop("task")
    if prompts is None:
        raise UserError(
            "reward=FUNCTION judges prompts of yours: give prompts=[…] with it, or a .jsonl with a "
            "`prompt` on each line."
        )
    if given.get("task") is not None:
        raise UserError("prompts and task were both given: either says what is asked, give one.")
    if reward is None and "task" in VERBS[name].config.model_fields:
        rows = list(prompts)
        if all(isinstance(row, Mapping) and "answer" in row for row in rows):
            return given | {"task": rows}
    if reward is None:
        raise UserError(
            "prompts came without anything to judge by: give reward=FUNCTION(prompt, completion), "
            'or prompts as [{"prompt": "…", "answer": "…"}, …].'
        )
    check_reward(reward)
    return given | {"task": Task(prompts, reward)}


def check_keywords(name: str, fields: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises UserError for what is no field, where something that Python alone takes is nearer; the
    rest is `validate`'s.
    """
    for key in given:
        if key in fields:
            continue
        near = difflib.get_close_matches(key, [*fields, *_ALSO], n=1)
        if near and near[0] in _ALSO and near[0] not in fields:
            raise UserError(f"`{key}` is no field of fledge.{name}: perhaps you meant `{near[0]}`.")
