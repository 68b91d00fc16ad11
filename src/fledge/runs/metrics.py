"""A log of JSON lines that survives kill -9: a row is one line is one write, and a torn last line
is cut.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from fledge.disk import sync
from fledge.errors import UserError
from fledge.json_file import numbers_or_null, open_regular, parse_json

_BLOCK = 2**16  # bytes
_LONGEST = 2**26  # bytes of a line: a row of samples is a prompt and its completion


class Log:
    """Append-only rows in `path`. The file is opened at the first write, offset or rewind; reading
    never touches it.
    """

    def __init__(self, path: Path, shape: type[Any] = dict[str, Any]):
        """shape: of a row, for those who read."""
        self.path = path
        self.shape = shape
        self._descriptor: int | None = None
        self._close: Callable[[], object] | None = None  # also where nobody has the log any more

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; NaN and infinities become null. Raises OSError: earlier rows intact, no
        half line.
        """
        line = encoded(row)
        descriptor = self._open()
        start = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
            # a disk that fills up takes a part first; the next write says so
            while written < len(line):
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, start)
            raise

    def offset(self) -> int:
        """Bytes of the rows so far, synced to disk: a checkpoint that says this number finds these
        rows again.
        """
        descriptor = self._open()
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size

    def rewind(self, offset: int) -> None:
        """Forget every row after `offset` bytes. Raises UserError where the file is shorter, or no
        row ends there.
        """
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        if offset > size or (offset and os.pread(descriptor, 1, offset - 1) != b"\n"):
            raise UserError(
                f"{self.path} does not fit its checkpoint, which knew {offset:,} bytes of it: it "
                f"has {size:,} now, or lines were changed by hand. Put the original file back, or "
                "start a new run."
            )
        os.ftruncate(descriptor, offset)
        os.fsync(descriptor)

    def each(self) -> Iterator[dict[str, Any]]:
        """Every whole row so far, one in memory at a time: a long run has millions."""
        return read_log(self.path, self.shape)

    def rows(self) -> list[dict[str, Any]]:
        """Every whole row so far, together."""
        return list(self.each())

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
                os.ftruncate(self._descriptor, _end_of_rows(file))
        return self._descriptor


def _end_of_rows(file: BinaryIO) -> int:
    """Where the last whole row ends, looked for from the back: what comes after it is torn."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def encoded(row: dict[str, Any]) -> bytes:
    """The line of a row, with its end."""
    return (json.dumps(numbers_or_null(row), allow_nan=False, ensure_ascii=False) + "\n").encode(
        "utf-8", errors="replace"
    )


def read_log(path: Path, shape: type[Any] = dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a log, none where there is no log.

    A torn last line is left out; any other broken line is a UserError.
    """
    with suppress(FileNotFoundError), open_regular(path) as file:
        for number in count(1):
            line = file.readline(_LONGEST + 1)
            if len(line) > _LONGEST:
                raise UserError(
                    f"line {number} of {path} has more than {_LONGEST:,} bytes: mend the line or "
                    "remove it."
                )
            if not line.endswith(b"\n"):
                break
            yield parse_json(
                line, shape, f"line {number} of {path}", mend="mend the line or remove it"
            )
