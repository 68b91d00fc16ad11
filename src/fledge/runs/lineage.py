"""Where a run comes from: parents by the hash of their weights, data by the hash of its files,
versions, commit.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.runs.atomic import known_sha256
from fledge.runs.shapes import VerbRecord
from fledge.runs.whole_folder import find_standing

EMBEDDED = "python"  # the corpus that every installation has: its own reference prose


FilesOf = Callable[[str], list[Path]]  # the files that a run reads when it is given a name
# The files of a model that a checkpoint holds further on, and those that it does not hold.
WEIGHTS = ("model.safetensors", "critic.safetensors", "agent.json")
_BESIDE_THE_WEIGHTS = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "adapter_config.json", "fledge_adapter.json", *WEIGHTS[1:],
)  # fmt: skip
_ADAPTER, _PEFT_BASE = "adapter_model.safetensors", "base_model_name_or_path"


def every_file(name: str) -> list[Path]:
    """A file itself, or every file in a folder."""
    path = Path(name)
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def describe(
    verb: str,
    command: str | None,
    seed: int,
    parents: Iterable[Path | str],
    data: Iterable[Path | str],
    *,
    initial: Iterable[Path | str] = (),
    copied: Iterable[Path | str] = (),
    folder: Path | None = None,
    files_of: FilesOf = every_file,
) -> dict[str, Any]:
    """What lineage.json says. `command` None: this process's command line. `folder`: the run's own,
    for relative paths.

    A parent is a run folder, its model folder, or any folder with a model.safetensors; `initial`
    are those whose weights the run begins from and reads no more once it has a checkpoint. A data
    path is what `files_of` takes, or several of these with commas between; `copied` are those that
    the run takes into its shards/ when it begins and reads no more, and of these the word `python`
    is the embedded prose. Raises OSError for what cannot be read.
    """
    lineage: dict[str, Any] = {
        # its checkpoints bear it, so that those of another run are told apart
        "id": uuid.uuid4().hex,
        "verb": verb,
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "started_in": str(Path.cwd()),  # what relative names are meant from
        **describe_inputs(parents, data, copied, folder, files_of, initial=initial),
        "fledge": _version("fledge"),
        "torch": _version("torch"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    commit = git_commit()
    return lineage if commit is None else lineage | {"git_commit": commit}


def describe_inputs(
    parents: Iterable[Path | str],
    data: Iterable[Path | str],
    copied: Iterable[Path | str],
    folder: Path | None,
    files_of: FilesOf,
    *,
    initial: Iterable[Path | str] = (),
) -> dict[str, list[dict[str, Any]]]:
    """The parents and `data` with their hashes, and `inputs`: the names as they were given, which a
    resume looks up again.
    """
    models: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    inputs: list[dict[str, Any]] = []
    for mark, given in (({"initial": True}, initial), ({}, parents)):
        for parent in given:
            models.append(_parent(Path(parent), folder))
            inputs.append({"model": str(parent), "files": model_hashes(Path(parent)), **mark})
    for mark, given in (({}, data), ({"copied": True}, copied)):
        for name in (name for several in given for name in split_names(str(several))):
            read = [_embedded()] if mark and name == EMBEDDED else _described(files_of(name))
            files += read
            if read:
                inputs.append({"data": name, "files": len(read), **mark})
    return {"parents": models, "data": files, "inputs": inputs}


def git_commit() -> str | None:
    """The commit of the work tree around the current folder, `-dirty` where it has changes; None
    outside of one.
    """
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None if described.returncode == 0 else None


def run_of(folder: Path) -> Path:
    """The run that `folder` belongs to: itself, or the one whose model or best agent it is."""
    return folder.parent if is_of_a_run(folder) else folder


def is_of_a_run(folder: Path) -> bool:
    """Whether `folder` is the place of a run's model or of its best agent."""
    return folder.name in ("model", "best") and verb_of(folder.parent) is not None


def verb_of(folder: Path) -> str | None:
    """The verb in a run's config.json; None where `folder` is not a run (a model's config.json has
    no verb).
    """
    try:
        return read_json(folder / "config.json", VerbRecord)["verb"]
    except (FileNotFoundError, UserError):
        return None


# An adapter's lineage names its base besides.
_INDEX = "model.safetensors.index.json"
_WEIGHTS = ("model.safetensors", _INDEX, "adapter_model.safetensors", "model.gguf")


def weights_of(path: Path) -> Path | None:
    """The weights of a run, of its best agent or of a model folder, their index where they are in
    several files; None where there are none.
    """
    if path.suffix == ".gguf" and path.is_file():
        return path
    own = path if is_of_a_run(path) else path / "model"
    places = (folder / name for folder in (find_standing(own), run_of(path)) for name in _WEIGHTS)
    return next((place for place in places if place.is_file()), None)


def model_hashes(path: Path) -> dict[str, str]:
    """Name to sha256 of the weights of a run or a model folder, and of the files beside them that
    are read with them.
    """
    weights = weights_of(path)
    if weights is None:
        return {}
    files = [weights, *(weights.with_name(name) for name in _BESIDE_THE_WEIGHTS)]
    if weights.name == _INDEX:
        files += _list_shards(weights)
    hashes = {file.name: known_sha256(file) for file in files if file.is_file()}
    under = _find_base(weights.parent) if weights.name == _ADAPTER else None
    # An adapter may stand on another; in a circle stands none that was ever loaded.
    if under is not None and under.resolve() != path.resolve():
        hashes |= {f"base {name}": value for name, value in model_hashes(under).items()}
    return hashes


def weights_hash(path: Path) -> str | None:
    """One sha256 of all the weights of a run or a model folder; None where there are none."""
    weights = weights_of(path)
    if weights is None or weights.name != _INDEX:
        return None if weights is None else known_sha256(weights)
    of_shards = "".join(known_sha256(shard) for shard in _list_shards(weights))
    return hashlib.sha256(of_shards.encode()).hexdigest()


def _list_shards(index: Path) -> list[Path]:
    return sorted(index.parent.glob("*.safetensors"))


def _find_base(folder: Path) -> Path | None:
    """Where the base of an adapter lies, as far as its files say."""
    for name, key in (("fledge_adapter.json", "base"), ("adapter_config.json", _PEFT_BASE)):
        try:
            said = read_json(folder / name, dict[str, Any]).get(key)
        except (FileNotFoundError, UserError):
            continue
        if isinstance(said, str) and (place := folder / said).exists():
            return place
    return None


def is_embedded(given: Mapping[str, Any]) -> bool:
    """Whether one of the `inputs` is the embedded prose, as the corpus reader has it.

    That is the word alone: a folder of that name is `./python`.
    """
    return given.get("copied", False) and given["data"] == EMBEDDED


def _embedded() -> dict[str, Any]:
    return {"path": EMBEDDED, "python": platform.python_version()}


def _described(files: list[Path]) -> list[dict[str, Any]]:
    return [
        {"path": str(file), "bytes": file.stat().st_size, "sha256": known_sha256(file)}
        for file in files
    ]  # fmt: skip


def _parent(parent: Path, folder: Path | None) -> dict[str, Any]:
    run, weights = run_of(parent.absolute()), weights_of(parent)
    return {
        "path": str(run) if folder is None else os.path.relpath(run.resolve(), folder.resolve()),
        "verb": verb_of(run),
        "model_sha256": None if weights is None else known_sha256(weights),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
