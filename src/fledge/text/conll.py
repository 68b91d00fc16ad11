"""Reads CoNLL column files: a word a line, its tag in the last column, a blank line after each
sentence; in parts, so that a corpus of any length costs its rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fledge.errors import UserError
from fledge.text.files import open_bytes

DOCUMENT = "-DOCSTART-"  # stands for a word where a document begins (CoNLL-2003)


def read_conll(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """The line where each sentence begins, its words and its tags as they are written.

    Columns are divided by tabs or by blanks; lines such as `# text = …` (CoNLL-U) and documents'
    borders are passed over. Raises UserError, with the line, for one that has not as many columns
    as those before, and for wrong UTF-8.
    """
    words: list[str] = []
    tags: list[str] = []
    columns = begin = 0
    with open_bytes(path) as file:
        for number, line in enumerate(_read_lines(file, path), 1):
            cells = line.split("\t") if "\t" in line else line.split()
            if line.startswith("#") and "\t" not in line and " = " in line:
                continue
            if not line.strip() or cells[0] == DOCUMENT:
                if words:
                    yield begin, words, tags
                words, tags = [], []
                continue
            columns = columns or len(cells)
            if len(cells) < 2 or len(cells) != columns:
                wanted = "a word and its tag, 2 or more" if columns < 2 else f"{columns}"
                raise UserError(
                    f"line {number} of {path} has {len(cells)} "
                    f"{'column' if len(cells) == 1 else 'columns'} where {wanted} are wanted: mend "
                    "it"
                )
            if not cells[0].strip() or not cells[-1].strip():
                raise UserError(f"line {number} of {path} has an empty column: mend it")
            begin = begin if words else number
            words.append(cells[0].strip())
            tags.append(cells[-1].strip())
    if words:
        yield begin, words, tags


def _read_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    for number, content in enumerate(file, 1):
        try:
            text = content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"line {number} of {path} is not UTF-8 (byte {content[error.start]:#04x}): save "
                "the file as UTF-8"
            ) from None
        yield text.rstrip("\r\n")
