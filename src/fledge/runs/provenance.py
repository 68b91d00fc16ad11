"""What a run was started from, held against what is there now: on other inputs it would end with
other bits.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from fledge.runs.atomic import known_sha256
from fledge.runs.lineage import (
    WEIGHTS,
    FilesOf,
    describe_inputs,
    is_embedded,
    model_hashes,
    weights_of,
)


@dataclass(frozen=True)
class Change:
    """One file that is not what it was.

    was, now: its hashes, None where there was, or is, no such file. copied: the run has taken its
    content into shards/. initial: it holds the weights that the run began from, and every
    checkpoint holds these further on.
    """

    path: str
    was: str | None
    now: str | None
    copied: bool = False
    initial: bool = False

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.path} is gone"
        return f"{self.path} is new" if self.was is None else f"{self.path} has changed"


def start_folder(lineage: dict[str, Any]) -> Path:
    """The folder that a run's relative names are meant from: the one it was started in.

    The present one where that is gone, or lacks what the run reads while the present one has it:
    projects are moved.
    """
    here = Path.cwd()
    started = Path(lineage.get("started_in") or here)
    given = [entry for entry in lineage.get("inputs", []) if not is_embedded(entry)]
    names = [entry.get("model") or entry["data"] for entry in given]

    def lacks(folder: Path) -> bool:
        return any(not (folder / name).exists() for name in names if not _is_code(name))

    return started if started.is_dir() and (not lacks(started) or lacks(here)) else here


def find_changes(folder: Path, lineage: dict[str, Any], files_of: FilesOf) -> list[Change]:
    """What differs from the lineage of the run in `folder`. Raises OSError.

    As seen from the start folder, which has to be the present one.
    """
    if "inputs" not in lineage:  # written by a version that kept hashes and no names
        return list(_changes_by_path(folder, lineage))
    return list(_changes_by_name(lineage, files_of))


def accept(
    folder: Path, lineage: dict[str, Any], changes: list[Change], files_of: FilesOf
) -> dict[str, Any]:
    """The lineage with what is there now, and under `accepted` what was taken in, and when.

    What it says of what was copied, and of the weights that the run began from, stays as long as
    none of the changes is of that: the run reads its copy, and its checkpoint.
    """
    taken = _entries(changes)
    if "inputs" in lineage:
        keep_copied = not any(change.copied for change in changes)
        keep_initial = not any(change.initial for change in changes)
        now = _inputs_now(folder, lineage, files_of, keep_copied, keep_initial)
    else:
        parents = [folder / parent["path"] for parent in lineage.get("parents", [])]
        data = [entry["path"] for entry in lineage.get("data", []) if Path(entry["path"]).exists()]
        now = describe_inputs(parents, data, [], folder, files_of)
    return lineage | now | {"accepted": [*lineage.get("accepted", []), *taken]}


def pass_over(lineage: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """The lineage with what has changed and is not read any more under `not_read`, and when that
    was seen; each content of a file once.
    """
    seen = lineage.get("not_read", [])
    known = {(entry.get("path"), entry.get("now")) for entry in seen}
    new = [change for change in changes if (change.path, change.now) not in known]
    return lineage | {"not_read": [*seen, *_entries(new)]} if new else lineage


def _entries(changes: list[Change]) -> list[dict[str, Any]]:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return [{"when": when, "path": each.path, "was": each.was, "now": each.now} for each in changes]


def _inputs_now(
    folder: Path,
    lineage: dict[str, Any],
    files_of: FilesOf,
    keep_copied: bool,
    keep_initial: bool,
) -> dict[str, list[dict[str, Any]]]:
    now: dict[str, list[dict[str, Any]]] = {"parents": [], "data": [], "inputs": []}
    for given, known in _pair_inputs(lineage):
        if given.get("initial"):
            part = describe_inputs([], [], [], folder, files_of, initial=[given["model"]])
            if keep_initial:
                (entry,) = part["inputs"]
                entry["files"] |= {n: was for n, was in given["files"].items() if n in WEIGHTS}
                part["parents"] = known
        elif "model" in given:
            part = describe_inputs([given["model"]], [], [], folder, files_of)
        elif not given.get("copied"):
            part = describe_inputs([], [given["data"]], [], folder, files_of)
        elif keep_copied:
            part = {"data": known, "inputs": [given]}
        else:
            part = describe_inputs([], [], [given["data"]], folder, files_of)
        for name, entries in part.items():
            now[name] += entries
    return now


def _pair_inputs(lineage: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every one of `inputs`, with the entries of `data` that are its files, or that of `parents`
    that it is.
    """
    entries, parents = iter(lineage.get("data", [])), iter(lineage.get("parents", []))
    for given in lineage["inputs"]:
        known = islice(entries, given["files"]) if "data" in given else islice(parents, 1)
        yield given, list(known)


def _changes_by_path(folder: Path, lineage: dict[str, Any]) -> Iterator[Change]:
    for parent in lineage.get("parents", []):
        weights = weights_of(folder / parent["path"])
        was = parent.get("model_sha256")
        yield from _compare(
            {str(weights or parent["path"]): was} if was else {}, [weights] if weights else []
        )
    entries = lineage.get("data", [])
    yield from _compared_data(
        entries, [Path(entry["path"]) for entry in entries if Path(entry["path"]).is_file()]
    )


def _changes_by_name(lineage: dict[str, Any], files_of: FilesOf) -> Iterator[Change]:
    for given, known in _pair_inputs(lineage):
        if "model" in given:
            place = Path(given["model"])
            weights, now = weights_of(place), model_hashes(place)
            for name, was in given["files"].items():
                if now.get(name) != was:
                    yield Change(
                        str(weights.with_name(name) if weights else place / name),
                        was,
                        now.get(name),
                        initial=given.get("initial", False) and name in WEIGHTS,
                    )
            continue
        files = [] if is_embedded(given) else files_of(given["data"])
        for change in _compared_data(known, [file for file in files if file.is_file()]):
            yield replace(change, copied=given.get("copied", False))


def _compared_data(entries: list[dict[str, Any]], files: list[Path]) -> Iterator[Change]:
    for entry in entries:
        if "python" in entry and entry["python"] != platform.python_version():
            yield Change(
                f"the prose of Python {entry['python']}", entry["python"], platform.python_version()
            )
    yield from _compare(
        {entry["path"]: entry["sha256"] for entry in entries if "sha256" in entry}, files
    )


def _compare(known: dict[str, str], files: list[Path]) -> Iterator[Change]:
    now = {str(file): known_sha256(file) for file in files}
    for path in [*known, *(now.keys() - known.keys())]:
        if known.get(path) != now.get(path):
            yield Change(path, known.get(path), now.get(path))


def _is_code(name: str) -> bool:
    """Names such as gridworld:map.txt or mine.py:World hold more than a path."""
    return ":" in name
