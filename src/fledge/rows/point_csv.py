"""Points out of a csv, which may have a header, any of four delimiters, and values that are
missing: empty, NA, NaN, null or ?. It is read in blocks, so that a table of any length costs its
own numbers alone.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.rows.points import MOST_LEVELS, Points, from_array

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
BLOCK = 16_384  # rows that are held as text at a time
DELIMITERS = ",;\t|"


def read_csv(path: Path, labels: str | None, weights: str | None, words: bool) -> Points:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(path, file, labels, weights, words)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no csv in UTF-8 ({error}): write it as one.") from error


def _read_rows(
    path: Path, file: io.TextIOBase, labels: str | None, weights: str | None, words: bool
) -> Points:
    first = file.readline()
    while first and not first.strip():
        first = file.readline()
    if not first:
        raise UserError(f"{path} is empty: give one point a line.")
    delimiter = max(DELIMITERS, key=first.count)
    if not first.count(delimiter) and " " in first.strip():
        delimiter = " "
    rows = csv.reader(
        itertools.chain([first], file), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    top = [cell.strip() for cell in next(rows)]
    # words in every column say nothing of whether the first line is one of them: it is their names
    header = words or not all(_is_value(cell) for cell in top)
    names = top if header else [f"x{number + 1}" for number in range(len(top))]
    left = {
        names.index(each): each
        for each in (labels, weights)
        if each is not None and _has(path, names, each)
    }
    kept = [number for number in range(len(names)) if number not in left]
    if not kept:
        raise UserError(f"{path} has no column beside {', '.join(left.values())}: give one.")
    blocks, sides = [], {number: [] for number in left}
    coded = [_Codes(f"{path}: {names[number]}") for number in kept] if words else []
    body = rows if header else itertools.chain([top], rows)
    line = 1 + header
    for block in _cut(body):
        filled = [row for row in block if row]
        _check_lengths(path, block, len(names), line)
        if coded:
            pairs = zip(coded, kept, strict=True)
            columns = [code.read([row[number] for row in filled]) for code, number in pairs]
            blocks.append(np.stack(columns, 1))
        else:
            blocks.append(_to_numbers(path, filled, kept, names, line))
        for number, cells in sides.items():
            cells += [row[number].strip() for row in filled]
        line += len(block)
    x = np.concatenate(blocks) if blocks else np.empty((0, len(kept)))
    side = {names[number]: cells for number, cells in sides.items()}
    weight = None if weights is None else _read_weights(path, weights, side[weights])
    points = from_array(
        torch.from_numpy(x), [names[number] for number in kept], str(path), weight=weight
    )
    if coded:
        order = [code.order() for code in coded]
        x = torch.stack([_take(points.x[:, d], each) for d, (each, _) in enumerate(order)], 1)
        points = replace(points, x=x, levels=tuple(each for _, each in order))
    return points if labels is None else name_labels(points, side[labels])


class _Codes:
    """The words of a column as numbers, in the order in which they come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number: dict[str, int] = {}

    def read(self, cells: Sequence[str]) -> np.ndarray:
        plain = [cell.strip() for cell in cells]
        codes = [
            np.nan if cell.lower() in MISSING else self.number.setdefault(cell, len(self.number))
            for cell in plain
        ]
        if len(self.number) > MOST_LEVELS:
            raise UserError(
                f"{self.name} has more than {MOST_LEVELS} different values: leave the column out, "
                "or give model=gmm if they are numbers."
            )
        return np.array(codes, dtype=np.float64)

    def order(self) -> tuple[Tensor, tuple[str, ...]]:
        """Where each word stands among them in order, and the words: numbers by size, then text."""
        words = sorted(self.number, key=lambda word: (*_as_number(word), word))
        place = {word: number for number, word in enumerate(words)}
        return torch.tensor([place[word] for word in self.number]).double(), tuple(words)


def _as_number(word: str) -> tuple[bool, float]:
    try:
        return False, float(word)
    except ValueError:
        return True, 0.0


def _take(column: Tensor, place: Tensor) -> Tensor:
    """Codes as their places, NaN as it is."""
    return torch.where(column.isnan(), torch.nan, place[column.nan_to_num().long()])


def _cut(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while block := list(itertools.islice(rows, BLOCK)):
        yield block


def _is_value(cell: str) -> bool:
    if cell.lower() in MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _has(path: Path, names: Sequence[str], wanted: str) -> bool:
    if wanted not in names:
        raise UserError(f"{path} has no column {wanted}: it has {', '.join(names[:20])}.")
    return True


def _check_lengths(path: Path, block: list[list[str]], width: int, line: int) -> None:
    for number, row in enumerate(block):
        if row and len(row) != width:
            raise UserError(
                f"{path}, row {line + number}: {len(row)} values, and {width} columns: give every "
                "row as many."
            )


def _to_numbers(
    path: Path, rows: list[list[str]], kept: Sequence[int], names: Sequence[str], line: int
) -> np.ndarray:
    """[n, D].  Raises UserError with the column's name and the row for a word that is no number."""
    table = np.empty((len(rows), len(kept)))
    for place, column in enumerate(kept):
        cells = [row[column] for row in rows]
        try:
            table[:, place] = np.array(cells, dtype=np.float64)
        except ValueError:
            table[:, place] = [
                _to_number(path, cell, names[column], line + n) for n, cell in enumerate(cells)
            ]
    return table


def _to_number(path: Path, cell: str, name: str, line: int) -> float:
    word = cell.strip()
    if word.lower() in MISSING:
        return np.nan
    try:
        return float(word)
    except ValueError:
        raise UserError(
            f"{path}, row {line}: column {name} holds {word!r}, which is no number: leave the "
            f"column out, or give labels={name} if it names what each point is."
        ) from None


def _read_weights(path: Path, name: str, cells: list[str]) -> Tensor:
    return torch.tensor(
        [_to_number(path, cell, name, line) for line, cell in enumerate(cells, 2)],
        dtype=torch.float64,
    )


def name_labels(points: Points, cells: Sequence[str]) -> Points:
    """The same points, of which each has the number of its label in order, −1 for none."""
    names = sorted({cell for cell in cells if cell.lower() not in MISSING})
    number = {name: place for place, name in enumerate(names)}
    label = torch.tensor([number.get(cell, -1) for cell in cells])
    return replace(points, label=label, names=tuple(names))
