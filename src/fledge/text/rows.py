"""Goes through files of rows line by line, and counts those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fledge.data_names import list_named
from fledge.rows.census import Census, Reading, Unusable
from fledge.text.files import json_rows

NO_LIMIT = 2**31 - 1  # a context of so many tokens holds every row


def read_each(path: Path, census: Census, use: Callable[[dict[str, Any], str], None]) -> None:
    """`use` gets every row and its place; those that it finds Unusable are counted, and settled at
    the end.

    Raises UserError for a file that cannot be read or has no rows, and for unusable rows that are
    not to be skipped.
    """
    for line, row in json_rows(path):
        census.read += 1
        try:
            use(row, f"line {line} of {path}")
        except Unusable as fault:
            census.leave_out(fault.reason, line)
    census.settle()


def read_files(
    name: str | Path,
    reading: Reading,
    use: Callable[[Census, dict[str, Any], str], None],
    *,
    rows: str = "rows",
) -> list[Census]:
    """`read_each` of every file that the name means, in the order of their names, and the count of
    each. rows: what its rows are called.
    """
    censuses = [Census(str(file), reading, rows=rows) for file in list_named(name)]
    for census in censuses:
        read_each(Path(census.source), census, partial(use, census))
    return censuses
