"""The place of a new run: a folder that is free, its lock, and how a run that cannot begin is taken
back from it.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.next_command import write_command
from fledge.runs.lineage import verb_of

LOCK = ".lock"
GIVEN = "given"  # in a run's folder: what it was given in Python, written before the run is made
_held: set[int] = set()  # descriptors of the locks of this process


def _let_go_in_a_child() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


# A child that outlives its parent, as a judge in a process of its own may by a moment, would hold
# the lock on.
os.register_at_fork(after_in_child=_let_go_in_a_child)
_LONGEST_LOCK = 32  # bytes: a process number and the end of its line
_BY_CONTENT = re.compile(r"\w+-[0-9a-f]{12}(\.jsonl|\.npy|\.csv|\.safetensors)?|\.\w.*\.partial")
_PARTIAL = re.compile(r"\.(lineage|config)\.json\.\d+\.partial")

# What a run writes before its first step, in the order in which it is taken back: without its
# config.json a folder is no run, so a kill in between leaves nothing that could be mistaken for
# one.
_BEFORE_THE_FIRST_STEP = (
    "config.json", "machine.json", "shards/*.bin", "shards/*.json", "shards/*.partial",
    "lineage.json",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A folder in which a run is being made, and what of it was not there before."""

    folder: Path
    made_folder: bool
    made_lock: bool

    def take_back(self) -> None:
        """Remove what a run writes before its first step, name by name; whatever else is there
        stays.

        Never by folder: a folder may hold what others put there, before or since.
        """
        for pattern in _BEFORE_THE_FIRST_STEP:
            for file in self.folder.glob(pattern):
                if not file.is_dir():
                    file.unlink(missing_ok=True)
        if self.made_lock:
            (self.folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # it is not there, or not empty
            (self.folder / "shards").rmdir()
        if self.made_folder:
            with suppress(OSError):
                self.folder.rmdir()


def free_folder(verb: str) -> Path:
    """The first of runs/VERB, runs/VERB-2, … that is not there, made; a verb of two words with a
    hyphen.
    """
    verb, number = verb.replace(" ", "-"), 1
    while True:
        folder = Path("runs") / (verb if number == 1 else f"{verb}-{number}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()  # making it is the test: two processes cannot both win
        except FileExistsError:
            number += 1
        else:
            return folder


def given_folder(folder: Path) -> bool:
    """Make the folder a user named; whether it was not there before.

    Raises UserError where it holds anything, hidden names as well: `.git` is somebody's work. What
    a kill while a run was made has left does not count, nor what the run itself was given in
    Python.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"`{folder}` is a file, and a run is a folder: choose another `out`.")
    if verb_of(folder) is not None:
        raise UserError(
            f"`{folder}` exists: `{write_command('resume', folder)}` continues that run, or choose "
            "another `out`."
        )
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        pass
    else:
        return True
    names = os.listdir(folder)
    ours = _left_by_a_kill(folder, names) | _given(folder)
    others = sorted(name for name in names if name not in ours)
    if others:
        raise UserError(
            f"`{folder}` exists and is not empty: choose another `out`. It holds {others[0]}."
        )
    return False


def _given(folder: Path) -> set[str]:
    """The folder of what was given in Python, where it holds nothing else: names with a hash."""
    place = folder / GIVEN
    if place.is_symlink() or not place.is_dir():
        return set()
    return {GIVEN} if all(_BY_CONTENT.fullmatch(name) for name in os.listdir(place)) else set()


def _left_by_a_kill(folder: Path, names: list[str]) -> set[str]:
    """Of the names in a folder, those that a process killed while it made a run there has left."""
    if LOCK not in names or not is_our_lock(folder / LOCK):
        return set()
    left = {name for name in names if _PARTIAL.fullmatch(name)} | {LOCK}
    if "lineage.json" in names and _is_our_lineage(folder / "lineage.json"):
        left.add("lineage.json")
    return left


def is_our_lock(path: Path) -> bool:
    """Whether a file holds what a lock of a run does: nothing, or the number of a process."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LONGEST_LOCK:
        return False
    return re.fullmatch(rb"\d*\n?", path.read_bytes()) is not None


def _is_our_lineage(path: Path) -> bool:
    try:
        written = read_json(path, dict[str, Any])
    except (FileNotFoundError, UserError):
        return False
    return {"verb", "command", "parents"} <= written.keys()


def take_lock(folder: Path) -> tuple[int, bool]:
    """A lock that the kernel releases when the process ends, also by kill -9, and whether its file
    was made for it.

    Raises UserError where another process holds it.
    """
    path = folder / LOCK
    try:
        descriptor, made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
    except FileExistsError:
        descriptor, made = os.open(path, os.O_RDWR | os.O_CREAT, 0o644), False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (
            os.pread(descriptor, _LONGEST_LOCK, 0).decode("ascii", errors="replace").strip()
            or "another one"
        )
        os.close(descriptor)
        raise UserError(
            f"`{folder}` is being written by process {holder}: wait for it, or stop it first."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    _held.add(descriptor)
    return descriptor, made


def release_lock(descriptor: int) -> None:
    """Let others write. A child has let go already: there the number may be another file's."""
    if descriptor in _held:
        _held.remove(descriptor)
        # Not by closing alone: a child forked a moment ago may not have closed its copy yet.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
