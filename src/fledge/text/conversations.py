"""Reads files of conversations as token ids. The text of a line is let go once it is encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.conversations import read_conversation
from fledge.text.chat import Conversation, render
from fledge.text.files import is_suffixed
from fledge.text.fitting import fit
from fledge.text.packed import PackedRows
from fledge.text.rows import read_each, read_files
from fledge.text.tokenizer import Tokenizer


def read_conversations(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading
) -> tuple[PackedRows, list[Census]]:
    """The conversations of a .jsonl or .jsonl.gz file, one a line, that fit the context, and the
    count of its rows; of several files, in the order of their names, where `path` is a pattern.

    Raises UserError for a file that cannot be read, for a row of another shape, naming the line,
    and for rows that cannot be used, counted by their reasons, unless they are to be skipped.
    """
    rows = PackedRows()
    for file in list_named(path):
        check_suffix(file)

    def use(census: Census, row: dict[str, Any], where: str) -> None:
        rendered = render(tokenizer, read_conversation(row, where, census))
        rows.append(fit(rendered, context, census, tokenizer.begin, tokenizer.start))

    censuses = read_files(path, reading, use)
    return rows, censuses


def rows_from_jsonl(path: str | Path) -> list[Conversation]:
    """The same conversations as they are read, not encoded. Raises as above."""
    path, read = Path(path).expanduser(), []
    census = Census(str(path), Reading())
    check_suffix(path)
    read_each(path, census, lambda row, where: read.append(read_conversation(row, where, census)))
    return read


def check_suffix(path: Path) -> None:
    """Raises UserError for a file that is there and is no .jsonl."""
    if path.exists() and not is_suffixed(path, (".jsonl",)):
        raise UserError(
            f"{path} is of a kind that is not read: conversations come from .jsonl or .jsonl.gz "
            "files"
        )
