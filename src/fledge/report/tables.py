"""Tables of words that a run has made of itself, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WordTable:
    """columns: their headings. rows: of words, the first of each its heading where that has one."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


def read_tables(summary: dict[str, Any]) -> list[WordTable]:
    """Those that the summary lists, each {title, note, columns, rows}, in its order."""
    listed = summary.get("tables")
    return [
        WordTable(
            str(each["title"]), str(each["note"]), list(map(str, each["columns"])),
            [list(map(str, row)) for row in each["rows"]],
        )
        for each in (listed if isinstance(listed, list) else [])
    ]  # fmt: skip
