"""A family in a file of the user's, which calls `register_family`: run when a model of it is read,
and known again by the runs that began with it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fledge.errors import UserError
from fledge.hub.families import count_registered
from fledge.json_file import read_json
from fledge.runs.lineage import is_of_a_run
from fledge.runs.provenance import start_folder
from fledge.runs.whole_folder import find_place
from fledge.user_code import load_module


def use_family(path: Path) -> None:
    """Run the file, again where it was changed. Raises UserError for one that is not there, that
    raises, or that registers nothing.
    """
    if not path.is_file():
        raise UserError(
            f"there is no file {path}: give family=FILE.py, which registers the model's family."
        )
    _load(path, path.resolve(), path.stat().st_mtime_ns)


@cache
def _load(path: Path, place: Path, written: int) -> None:
    before = count_registered()
    load_module(path)
    if count_registered() == before:
        raise UserError(
            f"{path} registers no family: let it call "
            "fledge.hub.families.register_family(RECORD) when it is run."
        )


def use_family_of(folder: Path) -> Path | None:
    """That with which the run was begun whose model this folder is: its file, run; None without.

    Raises UserError where the file is gone.
    """
    place = find_place(folder)
    if not is_of_a_run(place):
        return None
    run = place.parent
    name = read_json(run / "config.json", dict).get("config", {}).get("family")
    if not isinstance(name, str):
        return None
    lineage = read_json(run / "lineage.json", dict) if (run / "lineage.json").is_file() else {}
    file = start_folder(lineage) / name
    if not file.is_file():
        raise UserError(f"{file}, which has the family of {run}, is gone: put it back.")
    use_family(file)
    return file
