"""Checkpoints that outlive a kill, a full disk and a flipped bit: written beside, renamed, verified
when read.

Of a state that lies in parts over ranks each rank writes its own (`runs.saving`), and whoever loads
it reads what it needs. torch.distributed.checkpoint gives no such promise over safetensors: its
HuggingFaceStorageWriter(save_distributed=True) writes no index, so that its reader takes a tensor
whose last file is lost for a smaller one, and fills nothing where another is lost; it pickles all
that is no tensor, makes a second copy of a shard before it writes it, and renames nothing at the
end. Its reader reads our shards (tests/runs/test_saving.py).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fledge.disk import sync
from fledge.errors import UserError
from fledge.json_file import parse_json, read_bytes
from fledge.runs.atomic import sha256, write_bytes
from fledge.runs.shapes import FileRecord, Manifest
from fledge.runs.state import flatten, unflatten
from fledge.runs.whole_folder import holds_only, recover, remove_files, replace_whole
from fledge.saved_tensor import find_pieces
from fledge.tensor_file import write_tensors

_SHARD = re.compile(r"shard-\d{5,}-of-\d{5,}\.safetensors")
_FINAL = re.compile(r"\d{8,}")
_REPLACED = re.compile(r"\.(\d{8,})\.replaced")
_LEFT = re.compile(r"\.(\d{8,})\.(partial|removed)")


class _Names:
    """What the files of a checkpoint are called: a shard's, while it is written, has a record of
    its size and hash beside it.
    """

    def __contains__(self, name: object) -> bool:
        name = str(name)
        one = name in ("tensors.safetensors", "state.json", "manifest.json")
        return one or _SHARD.fullmatch(name.replace(".json", ".safetensors")) is not None


FILES = _Names()


class CheckpointDamaged(Exception):
    """A checkpoint that cannot be believed; the message says in a few words what is wrong with
    it.
    """


def save_state(
    folder: Path, state: dict[Any, Any], *, score: float | None = None, owner: str | None = None
) -> None:
    """Write `state` as tensors.safetensors, state.json and, last, manifest.json with their sizes
    and sha256.

    `owner`: the id of the run. `state` is whatever `runs.state.flatten` takes. Everything is synced
    to disk before this returns. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_state(folder, *flatten(state), {}, score=score, owner=owner)


def write_state(
    folder: Path,
    plain: Any,
    tensors: dict[str, torch.Tensor],
    shards: Mapping[str, FileRecord],
    *,
    score: float | None,
    owner: str | None,
) -> None:
    """The files of a state that `runs.state.flatten` has split. shards: those that ranks have
    written into the folder already.
    """
    files = [folder / "tensors.safetensors", folder / "state.json"]
    write_tensors(files[0], tensors)
    write_bytes(files[1], json.dumps(plain, allow_nan=False).encode())
    held = {file.name: record_file(file) for file in files} | dict(shards)
    manifest = {
        "score": score if score is not None and math.isfinite(score) else None,
        "run": owner,
        "files": held,
    }
    write_bytes(folder / "manifest.json", json.dumps(manifest, indent=2).encode())
    sync(folder)


def record_file(file: Path) -> FileRecord:
    """Its size and hash, once the disk holds it."""
    sync(file)
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def load_state(folder: Path, *, owner: str | None = None) -> dict[Any, Any]:
    """Read what `save_state` wrote, tensors on the CPU; one that lies in several files is a
    SavedTensor, still to be read. Raises CheckpointDamaged, or PermissionError.

    What another run than `owner` saved is damage too: it fits this one by chance at best.
    """
    try:
        manifest = _manifest(folder)
        if owner is not None and manifest.get("run") not in (None, owner):
            raise CheckpointDamaged("it was saved by another run")
        for name, held in manifest["files"].items():
            size = (folder / name).stat().st_size
            if size != held["bytes"]:
                raise CheckpointDamaged(
                    f"{name} has {size:,} bytes, {held['bytes']:,} were written"
                )
            if sha256(folder / name) != held["sha256"]:
                raise CheckpointDamaged(f"the content of {name} has changed since it was written")
        plain = json.loads((folder / "state.json").read_bytes())
        with safe_open(folder / "tensors.safetensors", "pt") as file:
            # Cloned: the library maps the file, and a state must not hang on a file that a later
            # save removes.
            names = file.keys()  # of a safe_open, which is no dict and has no __iter__
            tensors = {name: file.get_tensor(name).clone() for name in names}
        shards = [folder.absolute() / name for name in manifest["files"] if _SHARD.fullmatch(name)]
        return unflatten(plain, tensors, find_pieces(shards))
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise CheckpointDamaged(f"{Path(str(error.filename)).name} is missing") from error
    except OSError as error:
        raise CheckpointDamaged(f"it cannot be read: {error.strerror}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        SafetensorError,
    ) as error:
        raise CheckpointDamaged(f"its files do not fit together: {error}") from error


def _manifest(folder: Path) -> Manifest:
    try:
        return parse_json(read_bytes(folder / "manifest.json"), Manifest, "manifest.json")
    except UserError as error:
        if isinstance(error.__cause__, PermissionError):  # what may not be read may be whole
            raise error.__cause__ from None
        raise CheckpointDamaged(str(error)) from error


class Checkpoints:
    """The checkpoints of one run, `folder/STEP` each: the last `keep_last`, and the best by score,
    are kept.
    """

    def __init__(self, folder: Path, keep_last: int = 2, owner: str | None = None):
        if keep_last < 1:
            raise ValueError(
                f"keep_last={keep_last}: at least 1 checkpoint must be kept to continue from."
            )
        self.folder = folder
        self.keep_last = keep_last
        self.owner = owner

    def save(self, step: int, state: dict[Any, Any], score: float | None = None) -> None:
        """Write the checkpoint of `step`, then remove those no longer kept. `score`: higher is
        better.

        Raises OSError (disk full, folder not writable) with every earlier checkpoint intact and no
        half one left.
        """
        with self.replacing(step) as beside:
            save_state(beside, state, score=score, owner=self.owner)

    @contextmanager
    def replacing(self, step: int) -> Iterator[Path]:
        """A folder for the files of the checkpoint of `step`, which is one at the end of the
        block.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            sync(self.folder.parent)
        self._tidy()
        with replace_whole(self.folder / f"{step:08d}", FILES) as beside:
            yield beside
        self._prune(step)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; whether each is whole is not looked at."""
        return sorted(self._folders())

    def best(self) -> int | None:
        """The step with the highest score (the earliest of equals), None where no checkpoint has a
        score.
        """
        scores = {step: self._score(folder) for step, folder in sorted(self._folders().items())}
        scored = {step: score for step, score in scores.items() if score is not None}
        return max(scored, key=scored.__getitem__) if scored else None

    def load(self, step: int) -> dict[Any, Any]:
        """The state of one step. Raises CheckpointDamaged."""
        return load_state(self._folders().get(step, self.folder / f"{step:08d}"), owner=self.owner)

    def latest(self, notice: Callable[[str], None]) -> tuple[int, dict[Any, Any]] | None:
        """The newest whole checkpoint with its step, or None; `notice` hears of each damaged one
        passed over.
        """
        passed: list[str] = []
        for step in reversed(self.steps()):
            try:
                state = self.load(step)
            except CheckpointDamaged as error:
                passed.append(f"checkpoint {step:08d} is damaged ({error})")
                continue
            for sentence in passed:
                notice(f"{sentence}: continuing from {step:08d}")
            return step, state
        for sentence in passed:
            notice(f"{sentence}: there is no whole one before it")
        return None

    def _folders(self) -> dict[int, Path]:
        """Step to folder. A kill between the two renames of `save` leaves the earlier one under its
        hidden name.
        """
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        hidden = {
            int(matched[1]): self.folder / matched[0]
            for name in names
            if (matched := _REPLACED.fullmatch(name))
        }
        return hidden | {int(name): self.folder / name for name in names if _FINAL.fullmatch(name)}

    def _tidy(self) -> None:
        """Undo what a killed save left: put back one that was moved aside, remove the half written
        and removed.
        """
        for name in os.listdir(self.folder):
            if replaced := _REPLACED.fullmatch(name):
                recover(self.folder / replaced[1], FILES)
            elif _LEFT.fullmatch(name):
                remove_files(self.folder / name, FILES)

    def _prune(self, saved: int) -> None:
        """Remove all but the last ones up to `saved` and the best. Those after `saved` belong to a
        future that may be damaged and is about to be rewritten: they must not push out the ones
        that are known to be whole. One into which somebody has put something else is kept."""
        past = [step for step in self.steps() if step <= saved]
        kept = {*past[-self.keep_last :], self.best()}
        for step in past:
            folder = self.folder / f"{step:08d}"
            if step not in kept and holds_only(folder, FILES):
                removed = self.folder / f".{step:08d}.removed"
                folder.rename(removed)  # first out of sight: half a checkpoint is never listed
                remove_files(removed, FILES)

    def _score(self, folder: Path) -> float | None:
        try:
            return _manifest(folder).get("score")
        except (CheckpointDamaged, OSError):
            return None
