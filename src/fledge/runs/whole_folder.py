"""A folder of files that is replaced whole: written beside, synced, renamed; what others put into
it stays in it.

Three names: `NAME` is the folder; `.NAME.partial` is being written; `.NAME.replaced` was moved
aside for it, since a folder cannot be renamed over a full one. A kill between the two renames
leaves the last: `find_standing` finds it, `recover` puts it back.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fledge.disk import sync

_REPLACED = re.compile(r"\.(.+)\.replaced")
_LEFT_BY_AN_ATOMIC_WRITE = re.compile(r"\.(.+)\.\d+\.partial")


def find_standing(place: Path) -> Path:
    """Where the folder `place` stands now: there, or under the name it was moved aside to."""
    aside = _name_aside(place)
    return aside if not place.exists() and aside.is_dir() else place


def find_place(folder: Path) -> Path:
    """Where a folder belongs that `find_standing` found: its own name, also while it lies moved
    aside.
    """
    aside = _REPLACED.fullmatch(folder.name)
    return folder.with_name(aside[1]) if aside else folder


@contextmanager
def replace_whole(place: Path, names: Container[str]) -> Iterator[Path]:
    """A folder to write files called `names` into; at the end of the block it takes the place of
    `place`, synced.

    Whatever ends the process at whatever moment, one whole folder stands (see `find_standing`).
    Files of other names that lie in the old one move into the new one. Raises OSError, the old one
    intact and nothing half written left.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    recover(place, names)
    beside = place.with_name(f".{place.name}.partial")
    remove_files(beside, names)
    try:
        beside.mkdir(exist_ok=True)
        yield beside
        for file in beside.iterdir():
            sync(file)
        sync(beside)
        if place.exists():
            place.rename(_name_aside(place))
        beside.rename(place)
    except BaseException:  # Ctrl-C between the renames as well: one of the two always stands
        remove_files(beside, names)
        recover(place, names)
        raise
    sync(place.parent)
    recover(place, names)


def recover(place: Path, names: Container[str]) -> None:
    """Finish or undo what a kill left of a replacement. Raises OSError."""
    aside = _name_aside(place)
    if not aside.is_dir():
        return
    if not place.exists():
        aside.rename(place)
        return
    for other in _others(aside, names):
        if not (place / other).exists():
            (aside / other).rename(place / other)
    remove_files(aside, names)


def remove_files(folder: Path, names: Container[str]) -> None:
    """Remove the files called `names` from a folder, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    others = set(_others(folder, names))
    for file in list(folder.iterdir()):
        if file.name not in others:
            with suppress(OSError):  # what cannot be removed is litter, and no reason to end a run
                file.unlink()
    with suppress(OSError):
        folder.rmdir()


def holds_only(folder: Path, names: Container[str]) -> bool:
    """Whether nothing but files called `names`, or what a killed write of them left, is in a
    folder.
    """
    return not _others(folder, names)


def _others(folder: Path, names: Container[str]) -> list[str]:
    others = []
    for file in folder.iterdir():
        left = _LEFT_BY_AN_ATOMIC_WRITE.fullmatch(file.name)
        name = left[1] if left else file.name
        if name not in names or (file.is_dir() and not file.is_symlink()):
            others.append(file.name)
    return others


def _name_aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.replaced")
