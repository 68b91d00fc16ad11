"""Files that pyarrow reads: .parquet, and whatever is compressed as .zst."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from fledge.errors import UserError

CHUNK = 1 << 20  # bytes that are decompressed at a time
ROWS = 1024  # of a parquet file that are held at a time


def load_arrow(path: Path) -> Any:
    """pyarrow. Raises UserError where it is not installed."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"{path} is read by pyarrow, which is not installed: `pip install 'fledge[data]'`, or "
            "give .jsonl or .txt, also with .gz."
        ) from None
    return pyarrow


@contextmanager
def open_zst(path: Path, plain: BinaryIO) -> Iterator[BinaryIO]:
    """The decompressed bytes. Raises UserError where they are no whole zstandard file."""
    arrow = load_arrow(path)
    packed = io.BufferedReader(cast(Any, _ZstBytes(path, plain, arrow)), CHUNK)
    with packed:
        yield packed


class _ZstBytes(io.RawIOBase):
    """A stream that can be read forwards, and sought forwards by reading."""

    def __init__(self, path: Path, plain: BinaryIO, arrow: Any) -> None:
        self._path, self._arrow = path, arrow
        self._stream = arrow.CompressedInputStream(arrow.PythonFile(plain, "r"), "zstd")
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._stream.read(len(buffer))
        except (OSError, self._arrow.ArrowException) as error:
            raise UserError(
                f"{self._path} is not a whole zst file ({error}): compress or copy it again"
            ) from None
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Forwards only."""
        if whence != io.SEEK_SET or place < self._place:
            raise io.UnsupportedOperation("a .zst file is read forwards")
        while self._place < place and self.readinto(bytearray(min(CHUNK, place - self._place))):
            pass
        return self._place


def read_parquet(path: Path, start: int = 0) -> Iterator[tuple[int, str]]:
    """Number and `text` of each row from `start` on, from 0, a missing one as "". Raises UserError
    for a file without such a column, and for one that cannot be read.
    """
    if path.suffix.lower() != ".parquet":
        raise UserError(
            f"{path} is parquet that was compressed once more: unpack it, it is compressed inside"
        )
    arrow = load_arrow(path)
    number = 0
    try:
        with arrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if "text" not in names:
                raise UserError(
                    f"{path} has no column `text` (it has {', '.join(names)}): each row must hold "
                    "its text in that column"
                )
            for batch in file.iter_batches(ROWS, columns=["text"]):
                for value in batch.column(0).to_pylist():
                    if number >= start:
                        yield number, _check(value, path, number)
                    number += 1
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: check the spelling, relative to the folder you are in"
        ) from None
    except (OSError, UnicodeDecodeError, arrow.ArrowException) as error:
        raise UserError(
            f"{path} is not a whole parquet file ({error}): write or copy it again"
        ) from None


def _check(value: object, path: Path, number: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"the `text` of row {number + 1} of {path} is not a string: write it as one"
        )
    return value
