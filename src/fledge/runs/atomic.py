"""Files that are either the old one or the new one, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from fledge.disk import sync
from fledge.json_file import json_text


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside `path`, sync, rename over it. Raises OSError, the old file intact and nothing
    left beside it.
    """
    beside = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8. A half of a surrogate pair, which UTF-8 cannot say, is written as
    `?`.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON that any reader takes: raises Diverged for NaN and
    infinities.
    """
    write_text(path, json_text(value, str(path), indent=2) + "\n")


def sha256(path: Path) -> str:
    """The sha256 of a file, read in pieces, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_known: dict[Path, tuple[tuple[int, ...], str]] = {}
# a file written less than this ago may be written again within one tick of its clock
_SETTLED_NS = 2_000_000_000


def known_sha256(path: Path) -> str:
    """`sha256`, remembered for as long as the file is the same: weights of gigabytes are read once
    a process.
    """
    path = path.absolute()
    status = path.stat()
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if path in _known and _known[path][0] == stamp:
        return _known[path][1]
    digest = sha256(path)
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
        _known[path] = stamp, digest
    return digest
