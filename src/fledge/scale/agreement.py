"""What the ranks of a run were started with, held against what the first was: a rank with another
command, data or version trains another model, and nothing that it computes says so.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch

from fledge import __version__, ranks
from fledge.errors import UserError
from fledge.runs.folder import Run

OWN = {"out"}  # fields in which ranks differ


def check_agreement(run: Run) -> None:
    """Raises UserError, on every rank, that names the first one which differs and in what."""
    each = ranks.gather(describe(run))
    for rank, said in enumerate(each):
        for about, value in said.items():
            if value != each[0].get(about):
                raise UserError(
                    f"rank {rank} was started with {about}={value}, and rank 0 with "
                    f"{each[0].get(about)}: all ranks need the same command, files and versions."
                )


def describe(run: Run) -> dict[str, str]:
    """What must be the same everywhere, in words."""
    said = {
        "verb": run.verb,
        "fledge": __version__,
        "torch": torch.__version__.partition("+")[0],
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }
    said |= {f"field {k}": str(v) for k, v in run.config.items() if k not in OWN}
    for kind in ("data", "inputs"):
        for number, entry in enumerate(run.lineage.get(kind, [])):
            said |= _describe_input(f"{kind} {number}", entry)
    return said


def _describe_input(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """The hash of a file, or of each file of a model."""
    path = entry.get("path") or entry.get("model") or entry.get("data") or name
    if "sha256" in entry:
        return {f"sha256 of {path}": str(entry["sha256"])}
    files = entry.get("files")
    if isinstance(files, Mapping):
        return {f"sha256 of {path}/{file}": str(sha) for file, sha in files.items()}
    return {name: str(path)}
