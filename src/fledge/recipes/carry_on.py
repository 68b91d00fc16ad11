"""Continues a run that is open for writing: what it was started from is held against what is there
now, then its recipe goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.recipes.inputs import choose_files
from fledge.runs.atomic import write_json
from fledge.runs.folder import Allowed, Run
from fledge.runs.lineage import verb_of
from fledge.runs.model_files import (
    best_is_whole,
    check_model,
    hashes_of,
    model_is_whole,
)
from fledge.runs.provenance import Change, accept, find_changes, pass_over
from fledge.runs.show import Show
from fledge.runs.whole_folder import find_standing
from fledge.text.own_copy import find_loss, holds_to_its_text


def carry_on(run: Run, go: Callable[[], dict[str, Any]], show: Show) -> dict[str, Any]:
    """The summary of a run that is open for writing: read if it is finished and whole, else
    continued by `go`.

    A finished run whose model is lost or damaged has it written again from its last checkpoint, and
    keeps its summary; one that begins again gets a new one. Raises UserError where what it was
    started from has changed and the user has not accepted that.
    """
    summary = run.summary
    if summary is not None and is_as_it_was_finished(run):
        return summary
    if summary is not None:
        if run.checkpoints.steps():
            whole = model_is_whole(run.folder)
            damaged = f"{'the best agent' if whole else 'the model'} of {run.folder}"
            show.line(
                f"{damaged} is lost or damaged: it is written again from the last checkpoint."
            )
        elif not run.allowed.restart:
            raise UserError(
                f"{run.folder} is finished, its model is lost or damaged, and it has no checkpoint "
                "to write it from: put one of them back, or "
                f"`{write_command('resume', run.folder, from_start='true')}` trains it again."
            )
        run.kept_summary = summary
    check_inputs(run, show)
    use_threads(run, show)
    done = go()
    return done if run.kept_summary is None else run.kept_summary


def run_inside(
    folder: Path, go: Callable[[Run | None], dict[str, Any]], show: Show, allowed: Allowed
) -> dict[str, Any]:
    """The summary of a run inside of another: read if it is finished, continued if it was begun,
    else begun by `go`, which is given the run that it continues.
    """
    if verb_of(folder) is None:
        return go(None)
    with closing(Run.open(folder, writing=True)) as begun:
        begun.allowed = allowed
        return carry_on(begun, lambda: go(begun), show)


def is_as_it_was_finished(run: Run) -> bool:
    """Whether a finished run has the model and the best agent that it wrote, if it is of a kind
    that writes them.

    Raises UserError where its best agent is damaged or lost and no checkpoint is left to write it
    from.
    """
    saved = bool(run.checkpoints.steps())
    writes_one = hashes_of(run.model_folder).exists() or saved
    if writes_one and not model_is_whole(run.folder):
        return False
    if not saved:
        check_model(find_standing(run.folder / "best"))
    return best_is_whole(run.folder)


def check_inputs(run: Run, show: Show) -> None:
    """Raises UserError where a file that the run was started from is not what it was, unless that
    is allowed.

    Names are looked up from the present folder. What is allowed is recorded in lineage.json. What
    the run has a copy of may change, and so may the weights that it began from, once it has a
    checkpoint: they are not read any more.
    """
    changes = find_changes(run.folder, run.lineage, choose_files(run.config))
    changes = pass_over_copies(run, changes, show)
    outgrown = find_outgrown(run, changes)
    changes = [change for change in changes if change not in outgrown]
    if changes and not run.allowed.changes:
        raise UserError(explain_refusal(run, changes))
    lineage = run.lineage
    if outgrown:
        goes_on = f"{run.folder} goes on with the weights of its last checkpoint."
        show.line(f"{describe_changes(outgrown)}: {goes_on}")
        lineage = pass_over(lineage, outgrown)
    for change in changes:
        show.line(f"{change}: accepted, and recorded in {run.folder / 'lineage.json'}")
    if changes:
        lineage = accept(run.folder, lineage, changes, choose_files(run.config))
    if lineage != run.lineage:
        run.lineage = lineage
        write_json(run.folder / "lineage.json", lineage)


def pass_over_copies(run: Run, changes: list[Change], show: Show) -> list[Change]:
    """The changes without those of what the run has a whole copy of. Raises UserError where its
    copy is damaged.
    """
    copied, shards = [change for change in changes if change.copied], run.folder / "shards"
    if not copied or not holds_to_its_text(shards):
        return changes
    loss = find_loss(shards)
    if loss is not None:
        raise UserError(
            f"{describe_changes(copied)}, and the run's own copy is damaged ({loss}): put back "
            "what was there and resume, or start a new run."
        )
    goes_on = f"{run.folder} goes on with the copy in its shards/, which is whole."
    show.line(f"{describe_changes(copied)}: {goes_on}")
    return [change for change in changes if not change.copied]


def find_outgrown(run: Run, changes: list[Change]) -> list[Change]:
    """Those of weights that the run only began from, if a checkpoint is whole: it holds them
    further on.

    Weights that are gone are none of them: the network and the tokenizer are read from beside them.
    """
    read_again = {change.path for change in changes if not change.initial}
    begun = [
        change
        for change in changes
        if change.initial and change.now is not None and change.path not in read_again
    ]
    whole = bool(begun) and run.checkpoints.latest(lambda _: None) is not None
    return begun if whole else []


def describe_changes(changes: list[Change]) -> str:
    """The first of them, and how many there are."""
    return f"{changes[0]}{f' (and {len(changes) - 1} more differ)' if len(changes) > 1 else ''}"


def explain_refusal(run: Run, changes: list[Change]) -> str:
    """What differs, why that matters, and what to do about it, in one sentence."""
    started = Path(run.lineage.get("started_in") or ".")
    where = f", looked for from {Path.cwd()} since {started}, where the run was started, is gone"
    return (
        f"{describe_changes(changes)}{'' if started.is_dir() else where}: `{run.folder}` was "
        "started with another, and would end with other bits. Put back what was there, or give "
        "accept_changes=true to go on with what is there now."
    )


def use_threads(run: Run, show: Show) -> None:
    """As many threads as the run was started with: a sum that is split among others has other last
    bits.
    """
    before, now = run.lineage.get("threads", torch.get_num_threads()), torch.get_num_threads()
    if before == now:
        return
    if before <= (os.cpu_count() or 1):
        torch.set_num_threads(before)
        show.line(f"{before} threads, as when the run was started (here they would be {now})")
    else:
        show.line(
            f"the run was started with {before} threads and has {now} here: its last bits may be "
            "others"
        )
