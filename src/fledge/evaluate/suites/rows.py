"""The rows of a suite's file, in the forms that they are published in: JSON lines, JSON, parquet,
MMLU's CSV, each but parquet also gzipped; or a folder with such a file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.text.files import is_suffixed, json_lines, open_bytes
from fledge.text.labelled_files import MOST_CELL

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
_MMLU = ("question", "A", "B", "C", "D", "answer")

Row = tuple[str, dict[str, Any]]  # where it stands, and what it says


def find_file(given: Path, names: Sequence[str]) -> Path:
    """A file as it is; in a folder the only one whose name begins as the suite is called. Raises
    UserError.
    """
    if not given.is_dir():
        return given
    wanted = {bare(name) for name in names}
    files = [file for file in sorted(given.rglob("*")) if is_suffixed(file, SUFFIXES)]
    fits = [file for file in files if bare(file.name).startswith(tuple(wanted))]
    tests = [file for file in fits if "test" in file.name.lower()]
    chosen = fits if len(fits) < 2 or len(tests) != 1 else tests
    if len(chosen) != 1:
        what = "none" if not chosen else ", ".join(str(file) for file in chosen[:4])
        raise UserError(
            f"{given} is a folder, and of its files {what} is called {names[0]}: give data=FILE, "
            "the file itself."
        )
    return chosen[0]


def bare(name: str) -> str:
    """Its letters and digits, small: ARC-Easy and arc_easy are one."""
    return "".join(c for c in name.lower() if c.isalnum())


def read_rows(path: Path) -> Iterator[Row]:
    """Raises UserError, with the row, for what cannot be read."""
    if path.suffix.lower() == ".parquet":
        yield from _read_parquet(path)
    elif is_suffixed(path, (".csv",)):
        yield from _read_csv(path)
    elif is_suffixed(path, (".jsonl",)):
        for line in json_lines(path):
            yield f"line {line.number} of {path}", line.row
    elif is_suffixed(path, (".json",)):
        yield from _read_json(path)
    else:
        raise UserError(
            f"{path} is no file of questions: give a .jsonl, .json, .parquet or .csv file (but for "
            ".parquet also .gz), or a folder with one."
        )


def _read_json(path: Path) -> Iterator[Row]:
    with open_bytes(path) as file:
        content = file.read()
    try:
        said = json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): is it whole?") from None
    if isinstance(said, dict):  # BIG-Bench's, or one that names its rows
        said = next((v for k in ("examples", "data", "rows") if (v := said.get(k))), said)
    if not isinstance(said, list) or not all(isinstance(row, dict) for row in said):
        raise UserError(
            f"{path} has neither a list of objects nor one under `examples`: give one object a "
            "question."
        )
    for number, row in enumerate(said, 1):
        yield f"question {number} of {path}", row


def _read_csv(path: Path) -> Iterator[Row]:
    """MMLU's have no line of names: question, four choices, the letter."""
    csv.field_size_limit(MOST_CELL)  # the process has one: whoever reads says what it means
    with open_bytes(path) as file:
        text = file.read().decode("utf-8-sig", errors="replace")
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}): is it whole?") from None
    named = bool(lines) and "question" in [cell.lower() for cell in lines[0]]
    names = lines[0] if named else _MMLU
    for number, cells in enumerate(lines[named:], 1 + named):
        if not cells:
            continue
        if len(cells) != len(names):
            raise UserError(
                f"line {number} of {path} has {len(cells)} cells and not {len(names)}: a CSV of "
                "MMLU's has a question, four choices and a letter, or a first line that names its "
                "columns."
            )
        yield f"line {number} of {path}", dict(zip(names, cells, strict=True))


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"{path} is a parquet file, which takes pyarrow to read: pip install "
            "'fledge[data]', or save it as .jsonl."
        ) from None
    if not path.is_file():
        raise UserError(f"{path} does not exist: check the spelling.")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no parquet file ({error}): is it whole?") from None
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"row {number} of {path}", row
