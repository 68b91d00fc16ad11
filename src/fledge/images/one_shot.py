"""Omniglot's one-shot runs: in each, twenty characters seen once, and twenty pictures to name.

A run is a folder with `training/`, `test/` and `class_labels.txt`, a line for each test picture:
its file, and that of the training picture of the same character (Lake, Salakhutdinov & Tenenbaum
2015, github.com/brendenlake/omniglot, one-shot-classification).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.images.folder import decode

LABELS = "class_labels.txt"


@dataclass(frozen=True)
class OneShotRun:
    """known: [N, H, W] bool, black is True. asked: [M, H, W]. answer: [M], which of the known ones
    each is.
    """

    name: str
    known: np.ndarray
    asked: np.ndarray
    answer: np.ndarray


def read_runs(path: Path) -> list[OneShotRun]:
    """A folder of runs, or a .zip of it.  Raises UserError for what is none, or not whole."""
    if not path.exists():
        raise UserError(f"there is no {path}: give Omniglot's all_runs.zip, or a folder of runs.")
    files = _read_all(path)
    listed = sorted(name for name in files if name.rsplit("/", 1)[-1] == LABELS)
    if not listed:
        raise UserError(
            f"{path} holds no one-shot run: a run is a folder with training/, test/ and {LABELS}."
        )
    return [_read_run(files, name, path) for name in listed]


def _read_run(files: dict[str, bytes], name: str, path: Path) -> OneShotRun:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(files[name].decode("utf-8", "replace").split("\n"), 1):
        words = line.split()
        if len(words) not in (0, 2):
            raise UserError(
                f"{path}/{name}, line {number} is “{line[:60]}”: give two files, the picture that "
                "is asked and the known one of its character."
            )
        pairs += [(words[0], words[1])] if words else []
    if not pairs:
        raise UserError(f"{path}/{name} is empty: give a line for each test picture.")
    # The files are named from the folder that all runs lie in.
    folder = name.rpartition("/")[0]
    above = folder.rpartition("/")[0]
    start = f"{above}/" if above else ""
    inside = folder.rpartition("/")[2]
    beside = f"{start}{inside}/training/" if inside else "training/"
    known_names = sorted(each for each in files if each.startswith(beside))
    known = {each: _read_ink(files, each, path) for each in known_names}
    asked = [_read_ink(files, start + one, path) for one, _ in pairs]
    missing = [other for _, other in pairs if start + other not in known]
    if missing:
        raise UserError(f"{path} has no {missing[0]}, which {name} names: put the whole run back.")
    sizes = {each.shape for each in (*known.values(), *asked)}
    if len(sizes) > 1:
        given = " and ".join(f"{height} × {width}" for height, width in sorted(sizes))
        raise UserError(f"{path}/{folder} has pictures of {given}: those of a run are of one size.")
    answer = np.array([known_names.index(start + other) for _, other in pairs])
    return OneShotRun(inside or path.stem, np.stack(list(known.values())), np.stack(asked), answer)


def _read_ink(files: dict[str, bytes], name: str, path: Path) -> np.ndarray:
    """[H, W] bool: what is darker than half.  Raises UserError for one without ink."""
    if name not in files:
        raise UserError(f"{path} has no {name}: put the whole run back.")
    ink = decode(files[name], f"{path}/{name}").mean(0) < 128
    if not ink.any() or ink.all():
        raise UserError(f"{path}/{name} has no drawing on it, dark on light: leave its run out.")
    return ink


def _read_all(path: Path) -> dict[str, bytes]:
    """By its name, each picture in a run and each list of labels."""
    if path.is_dir():
        return {
            file.relative_to(path).as_posix(): file.read_bytes()
            for file in path.rglob("*")
            if file.is_file() and is_of_a_run(file.relative_to(path).as_posix())
        }
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            return {name: archive.read(name) for name in archive.namelist() if is_of_a_run(name)}
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): put the whole file back.") from error


def is_of_a_run(name: str) -> bool:
    parts = name.split("/")
    if "__MACOSX" in parts or parts[-1].startswith("."):
        return False
    return parts[-1] == LABELS or (parts[-1].endswith(".png") and parts[-2:-1] != [])
