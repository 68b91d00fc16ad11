"""A run is a folder: made once, written by one process at a time, opened by anybody, finished by
its summary.json.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from fledge.errors import UserError
from fledge.json_file import MEND, read_bytes, read_json
from fledge.next_command import write_command
from fledge.runs.atomic import write_json, write_text
from fledge.runs.checkpoint import Checkpoints
from fledge.runs.lineage import FilesOf, describe, every_file, verb_of
from fledge.runs.mended_log import fits, mend, set_aside
from fledge.runs.metrics import Log
from fledge.runs.model_files import MODEL_FILES
from fledge.runs.place import Place, free_folder, given_folder, release_lock, take_lock
from fledge.runs.shapes import FiguresRecord, Lineage, Seconds, SummaryRecord, Written
from fledge.runs.whole_folder import recover

Part = TypeVar("Part")
_COME_TO = (  # what a run writes of its own way, and another way from step 0 would write over
    # The summary first: without the model that it tells of, the run would pass for a finished one.
    "summary.json", "checkpoints", "metrics.jsonl", "samples.jsonl", "timings.jsonl",
    "best", "best.sha256", "model", "model.sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Allowed:
    """What a user has allowed to happen to a run that is continued."""

    changes: bool = False  # what it was started from is not what it was
    restart: bool = False  # it begins at step 0 where no checkpoint is whole


class Run:
    """One run folder.

    `create` and `open(writing=True)` hold its lock until `close`, or until nobody has the run.

    damage: a sentence for each part that was asked for and is not what it should be; that part
        reads as empty.
    """

    def __init__(self, folder: Path):
        """Look at `folder`, whatever state it is in; `open` is the one that raises for a damaged
        one.
        """
        self.folder = folder
        self.damage: list[str] = []
        written = self.part(lambda: _if_there(folder / "config.json", Written), None)
        if written is None and not self.damage:
            self.damage.append(f"{folder} has no config.json: put the original file back.")
        self.verb: str = written["verb"] if written else "?"
        self.config: dict[str, Any] = written.get("config", {}) if written else {}
        self.lineage: dict[str, Any] = {
            **(self.part(lambda: _if_there(folder / "lineage.json", Lineage), None) or {})
        }
        self.metrics = Log(folder / "metrics.jsonl", FiguresRecord)
        self.timings = Log(folder / "timings.jsonl", Seconds)
        self.samples = Log(folder / "samples.jsonl", FiguresRecord)
        self.checkpoints = Checkpoints(folder / "checkpoints", owner=self.lineage.get("id"))
        self.model_folder = folder / "model"
        self._let_go: Callable[[], object] | None = None  # of the lock
        self.allowed = Allowed()
        self.kept_summary: dict[str, Any] | None = (
            None  # of a finished run whose model is only written again
        )
        self.machine: dict[str, Any] | None = (
            None  # how it computes, once that is chosen; kept in its checkpoints
        )
        self.began = time.perf_counter()  # in this process
        self.seconds_before = 0.0  # of earlier processes, up to the checkpoint that it goes on from
        self._made: Place | None = None  # only where this process made the run

    @classmethod
    def create(
        cls,
        folder: Path | None,
        verb: str,
        config: dict[str, Any],
        *,
        seed: int,
        parents: Iterable[Path | str] = (),
        initial: Iterable[Path | str] = (),
        data: Iterable[Path | str] = (),
        copied: Iterable[Path | str] = (),
        command: str | None = None,
        files_of: FilesOf = every_file,
    ) -> Run:
        """Make and lock the folder, write lineage.json and config.json. None: the first free of
        runs/VERB, runs/VERB-2.

        Raises UserError where a given folder already holds something, OSError where it cannot be
        written.
        """
        if folder is None:
            folder, made_folder = free_folder(verb), True
        else:
            folder = Path(folder)
            made_folder = given_folder(folder)
        lock, made_lock = take_lock(folder)
        place = Place(folder, made_folder, made_lock)
        try:
            lineage = describe(
                verb, command, seed, parents, data, initial=initial, copied=copied, folder=folder,
                files_of=files_of,
            )  # fmt: skip
            write_json(folder / "lineage.json", lineage | {"threads": torch.get_num_threads()})
            # config.json last: with it the folder is a run, and a kill before it leaves one that
            # `create` takes again.
            write_json(folder / "config.json", {"verb": verb, "config": config})
        except BaseException:  # Ctrl-C too: half a run could not be continued
            place.take_back()
            release_lock(lock)  # last: nobody else makes a run here while this one is taken back
            raise
        run = cls(folder)
        run._hold(lock)
        run._made = place
        return run

    @classmethod
    def open(cls, folder: Path, *, writing: bool = False) -> Run:
        """Open a run; `writing` takes its lock.

        Raises UserError where it is no run, where its config.json or lineage.json is damaged, and
        where another process writes it.
        """
        folder = Path(folder)
        if not is_run(folder):
            raise UserError(
                f"`{folder}` is not a run: {_what_is_missing(folder)}.{_nearby(folder)}"
            )
        run = cls(folder)
        if run.damage:
            raise UserError(run.damage[0])
        if writing:
            run._hold(take_lock(folder)[0])
        return run

    @property
    def summary(self) -> dict[str, Any] | None:
        """What `finish` wrote, None while the run is unfinished. Raises UserError where it is
        damaged.
        """
        again = f"remove it: `{write_command('resume', self.folder)}` writes it again"
        summary = _if_there(self.folder / "summary.json", SummaryRecord, again)
        return None if summary is None else {**summary}

    @property
    def finished(self) -> bool:
        return (self.folder / "summary.json").is_file()

    @property
    def seconds(self) -> float:
        """How long was worked on the run, by this process and those before it."""
        return self.seconds_before + time.perf_counter() - self.began

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, whole or not at all: the run is finished. Raises Diverged for NaN or
        infinity.

        One that had finished before, and only writes its model again, keeps the summary it has: its
        seconds are true.
        """
        if self.kept_summary is None:
            write_json(self.folder / "summary.json", summary)

    @contextmanager
    def reason_kept(self) -> Iterator[None]:
        """What ends the work with a UserError is kept in failed.txt until the run goes on."""
        note = self.folder / "failed.txt"
        note.unlink(missing_ok=True)
        try:
            yield
        except UserError as error:
            with suppress(OSError):  # a full disk, say: the sentence is said aloud as well
                write_text(note, f"{error}\n")
            raise

    @property
    def failure(self) -> str | None:
        """Why it stopped, if it did by a mistake and nobody has continued it."""
        if self.finished:
            return None
        with suppress(FileNotFoundError):
            return read_bytes(self.folder / "failed.txt").decode("utf-8", errors="replace").strip()
        return None

    def part(self, read: Callable[[], Part], otherwise: Part) -> Part:
        """What `read` returns; where that part of the folder is damaged, `otherwise`, and `damage`
        tells of it.
        """
        try:
            return read()
        except UserError as error:
            sentence = str(error)
        except OSError as error:
            sentence = (
                f"{error.filename or self.folder} cannot be read "
                f"({(error.strerror or str(error)).lower()})."
            )
        if sentence not in self.damage:
            self.damage.append(sentence)
        return otherwise

    def size(self) -> int:
        """Bytes of every file in the folder, without those of the runs inside it. A link counts as
        itself.
        """
        total = 0
        for name, below, files in os.walk(self.folder):
            below[:] = [folder for folder in below if not is_run(Path(name, folder))]
            for file in files:
                with suppress(OSError):  # one that a running process has just renamed
                    total += os.lstat(Path(name, file)).st_size
        return total

    def log_offsets(self) -> dict[str, int]:
        """How many bytes each log holds, synced to disk; a checkpoint keeps this for
        `return_to`.
        """
        return {name: log.offset() for name, log in self._logs().items()}

    def return_to(
        self,
        step: int,
        offsets: dict[str, int],
        remembered: list[dict[str, Any]] | None,
        notice: Callable[[str], None],
    ) -> None:
        """Forget the rows after the checkpoint of `step`: what came between it and a kill is made
        again.

        A log that does not fit it is mended, and `notice` hears of it. remembered: the rows of
        metrics.jsonl that the checkpoint keeps; None in one of a version that kept none, whose
        metrics.jsonl must fit. Raises UserError where it does not.
        """
        for name, log in self._logs().items():
            offset = offsets.get(name, 0)
            if not fits(log, offset) and (remembered is not None or name != "metrics"):
                notice(mend(log, step, (remembered or []) if name == "metrics" else []))
            else:
                log.rewind(offset)

    def set_aside(self) -> list[str]:
        """Rename whatever the run has come to, so that it can begin again and nothing is lost; the
        new names.

        A finished run is unfinished from here on: what it ends with is another result, with other
        figures.
        """
        self.kept_summary = None
        for log in self._logs().values():
            log.close()
        for name in ("model", "best"):
            recover(self.folder / name, MODEL_FILES)
        kept = []
        for name in _COME_TO:
            if _holds_something(self.folder / name):
                kept.append(set_aside(self.folder / name, "before").name)
        return kept

    def close(self) -> None:
        """Close the logs and let others write. The kernel does the same when the process ends in
        any way.
        """
        for log in self._logs().values():
            log.close()
        if self._let_go is not None:
            self._let_go()

    def take_back(self) -> None:
        """Remove what this process has made of a run that cannot begin. A run that was there before
        is left as it is.
        """
        if self._made is not None:
            self._made.take_back()
        self.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self, lock: int) -> None:
        self._let_go = weakref.finalize(self, release_lock, lock)

    def _logs(self) -> dict[str, Log]:
        return {"metrics": self.metrics, "samples": self.samples, "timings": self.timings}


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run, whole or damaged: one whose config.json is broken or lost has the
    rest of its files.
    """
    if verb_of(folder) is not None:
        return True
    rest = ("config.json", "metrics.jsonl", "checkpoints", "summary.json")
    # lineage.json alone is what a kill during `create` leaves.
    return os.path.lexists(folder / "lineage.json") and any(
        os.path.lexists(folder / name) for name in rest
    )


def find_runs(root: Path) -> list[Run]:
    """Every run at or below `root` (a road's stages are runs inside its folder), sorted by path,
    damaged ones too.
    """
    folders: list[Path] = []
    for name, below, _ in os.walk(root):
        is_one = is_run(Path(name))
        if is_one:
            folders.append(Path(name))
        inside = ("checkpoints", "model") if is_one else ()
        below[:] = [
            folder for folder in below if not folder.startswith(".") and folder not in inside
        ]
    return [Run(folder) for folder in sorted(folders)]


def _if_there(path: Path, shape: type[Part], mend: str = MEND) -> Part | None:
    try:
        return read_json(path, shape, mend=mend)
    except FileNotFoundError:
        return None


def _holds_something(path: Path) -> bool:
    """Whether anything would be lost with `path`: an empty log or folder holds nothing."""
    if path.is_file():
        return path.stat().st_size > 0
    if path.is_dir():
        return any(path.iterdir())
    return os.path.lexists(path)


def _what_is_missing(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder"
    if not folder.is_dir():
        return "it is a file, and a run is a folder"
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    run = (
        f" (it is the model of the run `{folder.parent}`)"
        if verb_of(folder.parent) is not None
        else ""
    )
    return f"its config.json has no `verb`{run}"


def _nearby(folder: Path) -> str:
    """A sentence with up to five runs below the folder, else below the nearest folder above it that
    exists.
    """
    near = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    runs = [run.folder for run in find_runs(near)] if near != Path("/") else []
    names = ", ".join(f"`{os.path.relpath(run)}`" for run in runs[:5])
    return (
        f" Runs nearby: {names}{' …' if len(runs) > 5 else ''}."
        if runs
        else " There is no run nearby."
    )
