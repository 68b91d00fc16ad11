"""A command line in one of several processes: it meets the others, is silent unless it is the
first, and leaves when its work is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fledge import ranks
from fledge.errors import UserError
from fledge.scale.meeting import meet, read_place
from fledge.scale.watch import Lost, Watch

# The verbs whose work is a course of optimizer steps that ranks can share, or many such courses.
SHARED = ("pretrain", "tune", "reward", "prefer", "distill", "align", "control", "scale", "resume")


def check_verb(words: list[str]) -> None:
    """Raises UserError for a command whose work nobody can share."""
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb not in SHARED:
        raise UserError(
            f"`fledge {verb}` is the work of one process: leave torchrun out, or give one of "
            f"{', '.join(SHARED)}."
        )


def run_rank(words: list[str], run: Callable[[], int], complain: Callable[[str, int], int]) -> int:
    """The exit code. run: the whole command. complain: says a sentence, and returns the code.

    A mistake that all ranks make is told by the first; of one that another makes alone the first
    is told, says whose it is, and all end with its code.
    """
    place = read_place(os.environ)
    try:
        check_verb(words)
    except UserError as error:
        return complain(str(error), error.exit_code) if place.rank == 0 else error.exit_code
    with meet(place) as watch:
        try:
            code = _run_explained(run, watch)
        except ranks.Done:
            code = 0
        except UserError as error:
            watch.fail(str(error), error.exit_code)
            # Of a killed first rank the second tells.
            speaks = watch.speaks if isinstance(error, Lost) else place.rank == 0
            return complain(str(error), error.exit_code) if speaks else error.exit_code
        except BaseException as error:  # Ctrl-C too; whoever started this one prints it
            watch.fail(f"{type(error).__name__}: {error}".strip(": "), 1)
            raise
        watch.finish()
        return code


def _run_explained(run: Callable[[], int], watch: Watch) -> int:
    """A collective that fails outside of `ranks`, as one of divided weights does, is explained by
    the rank that is lost, if one is. Raises Lost then.
    """
    try:
        return run()
    except RuntimeError:
        watch.explain_loss()
        raise
