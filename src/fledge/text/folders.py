"""Lists the text files in the user's folders, and counts what it passes over: hidden names, links,
files of other kinds.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fledge.errors import UserError
from fledge.text.files import is_suffixed

Links = Literal["follow", "skip"]

SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")
"""What is read, all but the last also with .gz or .zst."""


@dataclass
class Passed:
    """What was found in the user's data and not read."""

    hidden_files: int = 0
    hidden_folders: int = 0
    links: int = 0
    """Links that were not to be followed."""
    loops: int = 0
    """Links to a folder that holds them, or to one that is read already."""
    broken_links: int = 0
    others: Counter[str] = field(default_factory=Counter)
    """Suffix (or what the thing is) -> how many files."""
    blank: int = 0
    """Documents and rows without any text."""

    def __str__(self) -> str:
        """One sentence with what to do where it was not meant so; empty where everything was
        read.
        """
        parts = []
        if self.hidden_files or self.hidden_folders:
            named = _joined(
                _number(self.hidden_files, "hidden file"),
                _number(self.hidden_folders, "hidden folder"),
            )
            parts.append(f"{named} (hidden=true reads them)")
        if self.links:
            parts.append(f"{_number(self.links, 'link')} (links=follow reads them)")
        parts += [
            _number(
                self.loops,
                "link to a folder that is read already",
                "links to folders that are read already",
            ),
            _number(self.broken_links, "link to nothing", "links to nothing"),
            _number(self.blank, "blank text"),
        ]
        if self.others:
            kinds = [f"{times:,} {suffix}" for suffix, times in self.others.most_common(4)]
            rest = len(self.others) - len(kinds)
            kinds += [f"{rest} kinds more"] if rest else []
            parts.append(
                f"{_number(self.others.total(), 'file')} of other kinds ({', '.join(kinds)})"
            )
        said = _joined(*parts)
        return f"passed over in the data: {said}" if said else ""


def _number(count: int, one: str, many: str | None = None) -> str:
    if not count:
        return ""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def text_files(
    folder: Path, passed: Passed, *, hidden: bool = False, links: Links = "follow"
) -> list[Path]:
    """The text files in a folder and the folders in it, in the order of names; the rest is counted
    in `passed`.

    A folder that is reached in several ways is read once: by its own path if that lies in `folder`,
    else by the first of the links to it. A link to a folder around `folder` is a loop. Raises
    UserError for a folder that may not be read.
    """
    files: list[Path] = []
    waiting, linked = [folder], []
    seen = {_identity(parent) for parent in folder.resolve().parents}
    while waiting or linked:
        if not waiting:  # links come after all true folders, which are thereby known
            linked.sort()
            waiting.append(linked.pop(0))
        inside = waiting.pop()
        if (identity := _identity(inside)) in seen:
            passed.loops += 1
            continue
        seen.add(identity)
        for entry in _entries(inside):
            if entry.is_symlink() and links == "skip":
                passed.links += 1
            elif entry.name.startswith(".") and not hidden:
                passed.hidden_folders += os.path.isdir(entry)
                passed.hidden_files += not os.path.isdir(entry)
            elif os.path.isdir(
                entry
            ):  # which is False, where entry.is_dir() raises, for a link to itself
                (linked if entry.is_symlink() else waiting).append(inside / entry.name)
            elif not os.path.exists(entry):
                passed.broken_links += 1
            elif not os.path.isfile(entry):
                passed.others["pipe or device"] += 1
            elif is_suffixed(path := inside / entry.name, SUFFIXES):
                files.append(path)
            else:
                passed.others[path.suffix or "without a suffix"] += 1
    return sorted(files)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError:
        raise UserError(
            f"the folder {folder} may not be read: change its permissions, or move it out of the "
            "data"
        ) from None


def suffix_list() -> str:
    """The suffixes as a sentence names them."""
    return ", ".join(SUFFIXES) + " (all but the last also with .gz or .zst)"
