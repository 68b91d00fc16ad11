"""Reads the user's text files, plain or compressed, and says where in a file something is wrong."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO, cast

from fledge.errors import UserError
from fledge.text.arrow_files import open_zst

CHUNK = 1 << 20
"""Bytes that are read of a file at a time."""

LONGEST_ROW = 1 << 24
"""Bytes of the longest row of a .jsonl file: a row is held whole, and a few times over while its
JSON is read.
"""


def is_suffixed(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the name ends in one of the suffixes, `.gz` or `.zst` after it or not, in capitals or
    not.
    """
    return path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith(suffixes)


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed if its name ends in .gz or .zst. Raises UserError where it
    cannot be read.
    """
    try:
        if not (S_ISREG(mode := path.stat().st_mode) or S_ISDIR(mode)):
            raise UserError(
                f"{path} is a pipe or a device and no file: text is read more than once, so save "
                "it to a file first"
            )
        with path.open("rb") as plain:
            if path.name.lower().endswith(".zst"):
                with open_zst(path, plain) as file:
                    yield file
            elif not path.name.lower().endswith(".gz"):
                yield plain
            else:
                # Without a buffer around it, gzip answers each line from Python.
                with (
                    gzip.open(plain) as packed,
                    io.BufferedReader(cast(Any, packed), CHUNK) as file,
                ):
                    yield file
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path} does not exist: check the spelling, relative to the folder you are in"
        ) from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder where a file is wanted: name the file in it") from None
    except PermissionError:
        raise UserError(
            f"{path} may not be read: change its permissions, or copy it to where you may"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} is not a whole gzip file ({error}): compress or copy it again"
        ) from None


def read_chunks(path: Path) -> Iterator[str]:
    """The text of a file in pieces of about `CHUNK` bytes, without a byte order mark at its start
    and otherwise as it is.

    Raises UserError for a file that cannot be read, or that is not UTF-8 (with byte and line).
    """
    start, line, rest = 0, 1, b""
    with open_bytes(path) as file:
        while True:
            content = file.read(CHUNK)
            ended = len(content) < CHUNK
            content = rest + content
            text, used = _decode(content, path, start, line, final=ended)
            if text:
                yield text
            if ended:
                return
            line += content.count(b"\n", 0, used)
            start += used
            rest = content[used:]  # the first bytes of a character whose others come next


def _decode(content: bytes, path: Path, start: int, line: int, *, final: bool) -> tuple[str, int]:
    """The text of some bytes of a file that begin at byte `start` and at line `line` of it, and how
    many bytes it takes.

    final: no more come, so that half a character at the end is an error too.
    """
    try:
        text, used = codecs.utf_8_decode(content, "strict", final)
    except UnicodeDecodeError as error:
        place = start + error.start
        line += content.count(b"\n", 0, error.start)
        hint = ""
        if start == 0 and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            hint = " It looks like UTF-16."
        raise UserError(
            f"{path} is not UTF-8: byte {content[error.start]:#04x} at byte offset {place} (line "
            f"{line}) cannot be read.{hint} Save the file as UTF-8."
        ) from None
    return text.removeprefix("\ufeff") if start == 0 else text, used


@dataclass(frozen=True, slots=True)
class JsonLine:
    """number: from 1. start: the byte of the file, decompressed, at which `content` begins."""

    number: int
    start: int
    content: bytes
    row: dict[str, Any]


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the object of every line of a .jsonl file. Raises as `json_lines` does."""
    return ((line.number, line.row) for line in json_lines(path))


def json_lines(path: Path, start: int = 0, before: int = 0) -> Iterator[JsonLine]:
    """Every line of a .jsonl file, read line by line; blank ones left out.

    start: the byte of the file, decompressed, at which reading begins, the first of a line. before:
    how many lines lie before it.

    Raises UserError for a file that cannot be read, and, with the line, for wrong UTF-8, for a line
    of more than `LONGEST_ROW` bytes, for one that is not a JSON object, and for half of a surrogate
    pair, which JSON can spell and UTF-8 cannot.
    """
    with open_bytes(path) as file:
        file.seek(start)
        for number in count(before + 1):
            content = file.readline(LONGEST_ROW + 1)
            if not content:
                return
            if len(content) > LONGEST_ROW:
                raise UserError(
                    f"line {number} of {path} is longer than {LONGEST_ROW / 2**20:.0f} MiB, the "
                    "most that one row may have: divide it into several rows, or put a long text "
                    "into a .txt file, which is read in pieces"
                )
            text, _ = _decode(content, path, start, number, final=True)
            if text.strip():
                row = _row(text, f"line {number} of {path}")
                yield JsonLine(number, start, content, row)
            start += len(content)


def _row(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text.rstrip("\r\n"))  # so that its columns are those of this line
    except RecursionError:
        raise UserError(
            f"{where} is nested too deep to be read: make it one flat JSON object"
        ) from None
    except ValueError as error:  # also an integer of 5,000 digits
        wrong = (
            f"{error.msg} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        raise UserError(
            f"{where} is not JSON ({wrong}): each line must be one whole JSON object"
        ) from None
    if not isinstance(row, dict):
        raise UserError(
            f'{where} is {_json_name(row)} where an object is wanted, such as {{"text": "..."}}'
        )
    if "\\ud" in text.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = ord(error.object[error.start])
            raise UserError(
                f"{where} holds half of a surrogate pair (\\u{half:04x}), which is no character: "
                "repair or remove it"
            ) from None
    return row


def _json_name(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a string"
    return json.dumps(value)
