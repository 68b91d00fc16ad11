"""A log of JSON lines that survives kill -9: a row is one line is one write, and a torn last line is cut."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from fledge.disk import sync
from fledge.errors import UserError
from fledge.json_file import numbers_or_null, open_regular, parse_json

_LONGEST = 2**26  # bytes of a line: a row of samples is a prompt and its completion


class Log:
    """Append-only rows in `path`. The file is opened at the first write, offset or rewind; reading never touches it."""

    def __init__(self, path: Path, shape: type[Any] = dict[str, Any]):
        """shape: of a row, for those who read."""
        self.path = path
        self.shape = shape
        self._descriptor: int | None = None
        self._close: Callable[[], object] | None = None  # also where nobody has the log any more

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; NaN and infinities become null. Raises OSError: earlier rows intact, no half line."""
        line = encoded(row)
        descriptor = self._open()
        start = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
            while written < len(line):  # a disk that fills up takes a part first; the next write says so
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, start)
            raise

    def offset(self) -> int:
        """Bytes of the rows so far, synced to disk: a checkpoint that says this number finds these rows again."""
        descriptor = self._open()
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size

    def rewind(self, offset: int) -> None:
        """Forget every row after `offset` bytes. Raises UserError where the file is shorter, or no row ends there."""
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        if offset > size or (offset and os.pread(descriptor, 1, offset - 1) != b"\n"):
            raise UserError(
                f"{self.path} does not fit its checkpoint, which knew {offset:,} bytes of it: it has {size:,} now, or "
                "lines were changed by hand. Put the original file back, or start a new run."
            )
        os.ftruncate(descriptor, offset)
        os.fsync(descriptor)

    def rows(self) -> list[dict[str, Any]]:
        """Every whole row so far."""
        return read_log(self.path, self.shape)

    def close(self) -> None:
        if self._close is not None:
            self._close()
        self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            made = not self.path.exists()
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._close = weakref.finalize(self, os.close, self._descriptor)
            if made:  # a checkpoint that knows its length must find it
                sync(self.path.parent)
            with open_regular(self.path) as file:
                content = file.read()
            os.ftruncate(self._descriptor, content.rfind(b"\n") + 1)
        return self._descriptor


def encoded(row: dict[str, Any]) -> bytes:
    """The line of a row, with its end."""
    return (json.dumps(numbers_or_null(row), allow_nan=False, ensure_ascii=False) + "\n").encode(
        "utf-8", errors="replace"
    )


def read_log(path: Path, shape: type[Any] = dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a log, [] where there is none. A torn last line is left out; any other broken line is a UserError."""
    rows: list[dict[str, Any]] = []
    with suppress(FileNotFoundError), open_regular(path) as file:
        for number in count(1):
            line = file.readline(_LONGEST + 1)
            if len(line) > _LONGEST:
                raise UserError(
                    f"line {number} of {path} has more than {_LONGEST:,} bytes: mend the line or remove it."
                )
            if not line.endswith(b"\n"):
                break
            rows.append(parse_json(line, shape, f"line {number} of {path}", mend="mend the line or remove it"))
    return rows
