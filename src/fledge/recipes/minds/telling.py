"""Tables that a page and a terminal show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """As `report/tables.py` reads it: rows of words under their headings."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_table(table: Table) -> list[str]:
    """In lines of text, words to the left and numbers to the right."""
    every = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(table.columns))]
    right = [
        all(row[i][:1].isdigit() or row[i][:1] in "-−" for row in table.rows)
        for i in range(len(table.columns))
    ]
    lines = ["", f"{table.title}: {table.note}"]
    for row in every:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return lines
