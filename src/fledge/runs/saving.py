"""Checkpoints that are written while training goes on: a save copies the state, which takes as long
as copying memory does, and a thread writes the copy. Every run saves so, of one process or many.

Of a state that lies in parts every rank writes its own part into one folder, without a word to the
others: beside its file it leaves a record of size and hash, and the first rank, which waits for all
of these, writes the manifest and renames the folder. Until then the one before is the newest.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from fledge import ranks
from fledge.errors import UserError
from fledge.json_file import parse_json, read_bytes
from fledge.runs.atomic import write_bytes
from fledge.runs.checkpoint import Checkpoints, record_file, write_state
from fledge.runs.shapes import FileRecord
from fledge.runs.state import flatten
from fledge.saved_tensor import Box, write_pieces
from fledge.sharded import take_parts

Pieces = dict[str, tuple[Box, torch.Tensor]]
GRACE_S = 5.0  # for what is being written when the run ends by a mistake
LOOK_S = 0.02  # between two looks for the records of other ranks


class _Dropped(Exception):
    """The run has ended before every rank had written its part."""


class Saving:
    """The checkpoints of a run under way; every rank has one. At the end of the block what is being
    written is whole, or, where the run ends by a mistake that hinders it, dropped.

    staged: False writes at once, while training waits, and needs no memory for the copy.
    """

    def __init__(self, checkpoints: Checkpoints, *, staged: bool = True) -> None:
        self.checkpoints, self.staged = checkpoints, staged
        self._copy: dict[str, torch.Tensor] = {}  # kept: new memory costs more than copying does
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._dropped = threading.Event()

    def save(
        self, step: int, state: dict[Any, Any], score: float | None = None, *, last: bool = False
    ) -> None:
        """Begin to write the checkpoint of `step`, once the one before is whole. score: higher is
        better. last: no training goes on beside it, so that it is written at once and needs no
        copy. Raises OSError, also for the one before, with every earlier one intact; UserError
        where a rank does not see the run's folder.
        """
        self.wait()
        rest, parts = take_parts(state) if ranks.world() > 1 else (state, {})
        if not parts and not ranks.is_first():
            return
        before, self._copy = self._copy, {}
        staged = self.staged and not last

        def hold(name: str, x: torch.Tensor) -> torch.Tensor:
            if not staged:
                return x.cpu().contiguous()
            copy = before.get(name)
            if copy is None or copy.shape != x.shape or copy.dtype != x.dtype:
                copy = torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda)
            self._copy[name] = copy.copy_(x)
            return copy

        with ExitStack() as opened:
            if ranks.is_first():
                beside = opened.enter_context(self.checkpoints.replacing(step))
                split = flatten(rest, hold)
            else:
                beside, split = Path(), None
            if parts:
                beside = _tell_folder(beside)
            pieces = {name: (box, hold(name, x)) for name, (box, x) in parts.items()}
            job = opened.pop_all()

        def write() -> None:
            shards = self._write_pieces(beside, pieces) if pieces else {}
            if split is not None:
                write_state(beside, *split, shards, score=score, owner=self.checkpoints.owner)

        self._thread = threading.Thread(target=self._run, args=(job, write), daemon=True)
        self._thread.start()
        if not staged:
            self.wait()

    def wait(self) -> None:
        """Until what is being written is whole. Raises what went wrong in it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises what has gone wrong in the thread."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            # The state is a good one, whatever came after it. But another rank may be gone, for
            # whose part nobody waits long, nor does whoever has pressed Ctrl-C twice.
            alone = issubclass(kind, Exception) and ranks.world() == 1
            self._thread.join(None if alone else GRACE_S)
            self._dropped.set()

    def _run(self, job: AbstractContextManager[Any], write: Callable[[], None]) -> None:
        try:
            with job:
                write()
        except _Dropped:
            pass
        except Exception as error:
            self._error = error  # raised again where training goes on

    def _write_pieces(self, beside: Path, pieces: Pieces) -> dict[str, FileRecord]:
        """This rank's file; by the first rank, the records of all, once they are there."""
        names = [f"shard-{n + 1:05d}-of-{ranks.world():05d}" for n in range(ranks.world())]
        own = beside / f"{names[ranks.rank()]}.safetensors"
        write_pieces(own, {name: x for name, x in pieces.items() if x[0].numel})
        record = own.with_suffix(".json")
        write_bytes(record, json.dumps(record_file(own)).encode())
        if not ranks.is_first():
            return {}
        records: dict[str, FileRecord] = {}
        for name in names:
            record = beside / f"{name}.json"
            while not record.exists():
                if self._dropped.wait(LOOK_S):
                    raise _Dropped
            records[f"{name}.safetensors"] = parse_json(read_bytes(record), FileRecord, name)
            record.unlink()
        return records


def _tell_folder(beside: Path) -> Path:
    """Where the first rank has made a folder for all of them."""
    folder = Path(ranks.from_first(lambda: str(beside.absolute())))
    if not folder.is_dir():
        raise UserError(
            f"rank {ranks.rank()} does not see {folder}, where rank 0 saves: with shard=fsdp every "
            "rank writes its own part, so give an `out` on a disk that all machines share."
        )
    return folder
