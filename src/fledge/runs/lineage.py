"""Where a run comes from: parents by the hash of their weights, data by the hash of its files, versions, commit."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.runs.atomic import sha256
from fledge.runs.shapes import Named

EMBEDDED = "python"  # the corpus that every installation has: its own reference prose


def describe(
    verb: str,
    command: str | None,
    seed: int,
    parents: Iterable[Path | str],
    data: Iterable[Path | str],
    *,
    folder: Path | None = None,
) -> dict[str, Any]:
    """What lineage.json says. `command` None: this process's command line. `folder`: the run's own, for relative paths.

    A parent is a run folder, its model folder, or any folder with a model.safetensors. A data path is a file, a folder
    (each file in it is hashed), the word `python`, or several of these with commas between. Raises OSError where one
    of them cannot be read.
    """
    lineage: dict[str, Any] = {
        "verb": verb,
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "parents": [_parent(Path(parent), folder) for parent in parents],
        "data": [described for path in data for described in _data(str(path))],
        "fledge": _version("fledge"),
        "torch": _version("torch"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    commit = git_commit()
    return lineage if commit is None else lineage | {"git_commit": commit}


def git_commit() -> str | None:
    """The commit of the work tree around the current folder, `-dirty` where it has changes; None outside of one."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def run_of(folder: Path) -> Path:
    """The run that `folder` belongs to: itself, or the one whose model folder it is."""
    return folder.parent if folder.name == "model" and verb_of(folder.parent) is not None else folder


def verb_of(folder: Path) -> str | None:
    """The verb in a run's config.json; None where `folder` is not a run (a model's config.json has no verb)."""
    try:
        return read_json(folder / "config.json", Named)["verb"]
    except (FileNotFoundError, UserError):
        return None


def _parent(parent: Path, folder: Path | None) -> dict[str, Any]:
    run = run_of(parent.absolute())
    places = (run / "model/model.safetensors", run / "model.safetensors")
    weights = next((place for place in places if place.is_file()), None)
    return {
        "path": str(run) if folder is None else os.path.relpath(run.resolve(), folder.resolve()),
        "verb": verb_of(run),
        "model_sha256": None if weights is None else sha256(weights),
    }


def _data(path: str) -> list[dict[str, Any]]:
    if "," in path and not Path(path).exists():  # several, as the corpus reader takes them
        return [described for part in path.split(",") for described in _data(part.strip())]
    if path == EMBEDDED and not Path(path).exists():
        return [{"path": path, "python": platform.python_version()}]
    files = sorted(file for file in Path(path).rglob("*") if file.is_file()) if Path(path).is_dir() else [Path(path)]
    return [{"path": str(file), "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
