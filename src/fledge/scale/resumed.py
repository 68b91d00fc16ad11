"""A run that several ranks continue, also one that another number of them began: the first opens
it, and tells the others what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fledge import ranks
from fledge.runs.atomic import write_json
from fledge.runs.folder import Run
from fledge.scale.shadow import link_shards, make_shadow_folder


@dataclass(frozen=True)
class Known:
    """Of a run that goes on: its own files, its folder, where its names are meant from, and the
    threads of a process.
    """

    verb: str
    config: dict[str, Any]
    lineage: dict[str, Any]
    folder: str
    start: str
    threads: int


def tell_others(run: Run | None) -> None:
    """By the first rank, once the run is held to what it was started from. None: there is nothing
    to continue.
    """

    def know() -> Known | None:
        if run is None:
            return None
        return Known(
            run.verb, run.config, run.lineage, str(run.folder.absolute()), os.getcwd(),
            torch.get_num_threads(),
        )  # fmt: skip

    ranks.from_first(know)


@contextmanager
def hear_of_run() -> Iterator[Run]:
    """The run as any other rank sees it. Raises ranks.Done where there is nothing to continue."""
    known: Known | None = ranks.from_first(lambda: None)
    if known is None:
        raise ranks.Done
    torch.set_num_threads(known.threads)
    start = Path(known.start)
    with make_shadow_folder() as folder, chdir(start if start.is_dir() else Path.cwd()):
        folder.mkdir()
        write_json(folder / "lineage.json", known.lineage)
        write_json(folder / "config.json", {"verb": known.verb, "config": known.config})
        link_shards(folder, Path(known.folder))
        with Run.open(folder) as run:
            yield run
