"""Reads files of labelled rows: .jsonl, .csv or .tsv with a header, or CoNLL columns for tags,
each also .gz.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.entities import name_entities, to_iob2
from fledge.rows.labels import LabelRow, LabelTask, TaggedWords, read_label_row
from fledge.text.conll import read_conll
from fledge.text.files import is_suffixed, json_rows, open_bytes

TABLES = (".csv", ".tsv")
COLUMNS = (".conll", ".bio", ".iob", ".iob2", ".conllu", ".txt")
MOST_CELL = 2**24  # characters


def read_labelled(
    path: Path, task: LabelTask, reading: Reading, *, labelled: bool = True
) -> tuple[list[LabelRow], list[Census]]:
    """The rows of a file and their count, or of all that a pattern fits, in the order of their
    names; tags that mark entities come as IOB2. labelled: as for `read_label_row`.

    Raises UserError for a file that cannot be read, for a row of another shape, with its line, and
    for rows that cannot be used, counted by their reasons, unless they are to be skipped.
    """
    censuses = [Census(str(file), reading) for file in list_named(path)]
    read = [_read_file(Path(each.source), task, each, labelled) for each in censuses]
    return _as_iob2(list(chain.from_iterable(read))), censuses


def _read_file(path: Path, task: LabelTask, census: Census, labelled: bool) -> list[LabelRow]:
    rows: list[LabelRow] = []

    def use(line: int, row: dict[str, Any]) -> None:
        read = read_label_row(task, row, f"line {line} of {path}", census, labelled=labelled)
        rows.append(replace(read, line=line, census=census))

    if not path.exists() or is_suffixed(path, (".jsonl",)):
        _use_each(json_rows(path), census, use)
    elif is_suffixed(path, TABLES) and task not in ("tag", "choose"):
        _use_each(read_table(path), census, use)
    elif is_suffixed(path, COLUMNS) and task == "tag":
        sentences = (
            (line, {"tokens": words, "tags": tags}) for line, words, tags in read_conll(path)
        )
        _use_each(sentences, census, use)
    else:
        raise UserError(f"{path} is of a kind that is not read: {KINDS[task]} (each also .gz)")
    return rows


_TABLES = "labelled rows come from a .jsonl, .csv or .tsv file"
KINDS = {
    "classify": _TABLES,
    "pair": _TABLES,
    "embed": _TABLES,
    "tag": f"tagged words come from a .jsonl or a column file ({', '.join(COLUMNS)})",
    "choose": "choices come from a .jsonl file",
}


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The line and the cells by name of every row of a .csv (with commas, semicolons or tabs) or
    .tsv, whose first line names the columns; an empty cell is none. Raises UserError.
    """
    csv.field_size_limit(MOST_CELL)
    tabs = is_suffixed(path, (".tsv",))
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            first = text.readline()
            delimiter = "\t" if tabs else max(",;\t", key=first.count)
            # In a .tsv a quotation mark is a letter like any other, as GLUE's files have it.
            style: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
            lines = csv.reader([first], delimiter=delimiter, **style)
            names = [name.strip() for name in next(lines, [])]
            if len(set(names)) != len(names):
                raise UserError(f"two columns of {path} have one name: rename one")
            rows = csv.reader(text, delimiter=delimiter, **style)
            for cells in rows:
                line = rows.line_num + 1
                if not cells:
                    continue
                if len(cells) != len(names):
                    values = "value" if len(cells) == 1 else "values"
                    raise UserError(
                        f"line {line} of {path} has {len(cells)} {values}, and {len(names)} "
                        "columns have names: give every row as many"
                    )
                pairs = zip(names, cells, strict=True)
                yield line, {name: cell for name, cell in pairs if cell != ""}
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error}): save the file as UTF-8") from None
        except csv.Error as error:
            raise UserError(f"{path} is no table ({error}): write it as .csv or .tsv") from None
        finally:
            text.detach()


def _use_each(
    rows: Iterator[tuple[int, dict[str, Any]]],
    census: Census,
    use: Callable[[int, dict[str, Any]], None],
) -> None:
    for line, row in rows:
        census.read += 1
        try:
            use(line, row)
        except Unusable as fault:
            census.leave_out(fault.reason, line)
    census.settle()


def _as_iob2(rows: Sequence[LabelRow]) -> list[LabelRow]:
    tagged = [row for row in rows if isinstance(row, TaggedWords)]
    if not tagged or not name_entities(tag for row in tagged for tag in row.tags):
        return list(rows)
    return [replace(row, tags=tuple(to_iob2(row.tags))) for row in tagged]
