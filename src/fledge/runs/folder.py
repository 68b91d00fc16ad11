"""A run is a folder: made once, written by one process at a time, opened by anybody, finished by its summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.runs.atomic import write_json, write_text
from fledge.runs.checkpoint import Checkpoints
from fledge.runs.lineage import describe, verb_of
from fledge.runs.metrics import Log
from fledge.runs.place import Place, free_folder, given_folder, take_lock


class Run:
    """One run folder. `create` and `open(writing=True)` hold its lock until `close` or the end of the process."""

    def __init__(self, folder: Path):
        """Read config.json and lineage.json of `folder`; `open` is the one that explains what is missing."""
        self.folder = folder
        written = _read(folder / "config.json")
        self.verb: str = written["verb"]
        self.config: dict[str, Any] = written.get("config", {})
        self.lineage: dict[str, Any] = _read(folder / "lineage.json")
        self.metrics = Log(folder / "metrics.jsonl")
        self.timings = Log(folder / "timings.jsonl")
        self.samples = Log(folder / "samples.jsonl")
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.model_folder = folder / "model"
        self._lock: int | None = None
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
        data: Iterable[Path | str] = (),
        command: str | None = None,
    ) -> Run:
        """Make and lock the folder, write lineage.json and config.json. None: the first free of runs/VERB, runs/VERB-2.

        Raises UserError where a given folder already holds something, OSError where it cannot be written.
        """
        if folder is None:
            folder, made_folder = free_folder(verb), True
        else:
            folder = Path(folder)
            made_folder = given_folder(folder)
        lock, made_lock = take_lock(folder)
        place = Place(folder, made_folder, made_lock)
        try:
            write_json(folder / "lineage.json", describe(verb, command, seed, parents, data, folder=folder))
            # config.json last: with it the folder is a run, and a kill before it leaves one that `create` takes again.
            write_json(folder / "config.json", {"verb": verb, "config": config})
        except BaseException:
            place.take_back()
            os.close(lock)  # last: nobody else makes a run here while this one is taken back
            raise
        run = cls(folder)
        run._lock, run._made = lock, place
        return run

    @classmethod
    def open(cls, folder: Path, *, writing: bool = False) -> Run:
        """Open a run; `writing` takes its lock. Raises UserError where it is no run, or another process writes it."""
        folder = Path(folder)
        if verb_of(folder) is None:
            raise UserError(f"`{folder}` is not a run: {_what_is_missing(folder)}.{_nearby(folder)}")
        run = cls(folder)
        if writing:
            run._lock, _ = take_lock(folder)
        return run

    @property
    def summary(self) -> dict[str, Any] | None:
        """What `finish` wrote, None while the run is unfinished."""
        return _read(self.folder / "summary.json") or None if self.finished else None

    @property
    def finished(self) -> bool:
        return (self.folder / "summary.json").is_file()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, whole or not at all: the run is finished. Raises ValueError for NaN or infinity."""
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
        note = self.folder / "failed.txt"
        return note.read_text(encoding="utf-8").strip() if note.is_file() and not self.finished else None

    def size(self) -> int:
        """Bytes of every file in the folder, without those of the runs inside it."""
        total = 0
        for name, below, files in os.walk(self.folder):
            below[:] = [folder for folder in below if verb_of(Path(name, folder)) is None]
            total += sum(Path(name, file).stat().st_size for file in files)
        return total

    def log_offsets(self) -> dict[str, int]:
        """How many bytes each log holds, synced to disk; a checkpoint keeps this, and `rewind` returns to it."""
        return {name: log.offset() for name, log in self._logs().items()}

    def rewind(self, offsets: dict[str, int]) -> None:
        """Forget the rows written after `offsets`: the steps between a checkpoint and a kill are made again."""
        for name, log in self._logs().items():
            log.rewind(offsets.get(name, 0))

    def close(self) -> None:
        """Close the logs and let others write. The kernel does the same when the process ends in any way."""
        for log in self._logs().values():
            log.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def take_back(self) -> None:
        """Remove what this process has made of a run that cannot begin. A run that was there before is left as it is."""
        if self._made is not None:
            self._made.take_back()
        self.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _logs(self) -> dict[str, Log]:
        return {"metrics": self.metrics, "samples": self.samples, "timings": self.timings}


def find_runs(root: Path) -> list[Run]:
    """Every run at or below `root` (a road's stages are runs inside its folder), sorted by path."""
    found: list[Path] = []
    for name, below, files in os.walk(root):
        is_run = "config.json" in files and verb_of(Path(name)) is not None
        if is_run:
            found.append(Path(name))
        inside = ("checkpoints", "model") if is_run else ()
        below[:] = [folder for folder in below if not folder.startswith(".") and folder not in inside]
    return [Run(folder) for folder in sorted(found)]


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, {} where there is none or where it is not whole."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _what_is_missing(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder"
    if not folder.is_dir():
        return "it is a file, and a run is a folder"
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    run = f" (it is the model of the run `{folder.parent}`)" if verb_of(folder.parent) is not None else ""
    return f"its config.json has no `verb`{run}"


def _nearby(folder: Path) -> str:
    """A sentence with up to five runs below the folder, else below the nearest folder above it that exists."""
    near = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    runs = [run.folder for run in find_runs(near)] if near != Path("/") else []
    names = ", ".join(f"`{os.path.relpath(run)}`" for run in runs[:5])
    return f" Runs nearby: {names}{' …' if len(runs) > 5 else ''}." if runs else " There is no run nearby."
