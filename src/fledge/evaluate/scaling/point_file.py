"""Runs in a .csv: their parameters, tokens and loss, under the names that people give these."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.evaluate.scaling.law import TRAINING_FLOP, Array, Points

NAMES = {
    "parameters": ("parameters", "params", "n", "model size", "size"),
    "tokens": ("tokens", "training tokens", "d"),
    "flop": ("flop", "flops", "training flop", "compute", "c"),
    "loss": ("loss", "final loss", "validation loss", "l"),
}


def read_points(path: Path) -> Points:
    """Of parameters, tokens and flop two suffice: C = 6 N D gives the third. Raises UserError, with
    line and column, for what is no positive number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: check the spelling, relative to the folder you are in"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no csv in UTF-8 ({error}): write it as one.") from error
    if not rows:
        raise UserError(f"{path} is empty: give a line of names and a line for each run.")
    places = _find_columns(path, rows[0])
    columns: dict[str, Array] = {}
    for name, at in places.items():
        cells = [(number, row) for number, row in enumerate(rows[1:], 2) if row]
        values = [_read_number(path, number, rows[0][at], row, at) for number, row in cells]
        columns[name] = np.array(values, dtype=np.float64)
    if "parameters" not in columns:
        columns["parameters"] = columns["flop"] / (TRAINING_FLOP * columns["tokens"])
    if "tokens" not in columns:
        columns["tokens"] = columns["flop"] / (TRAINING_FLOP * columns["parameters"])
    return Points(columns["parameters"], columns["tokens"], columns["loss"])


def write_points(path: Path, points: Points) -> None:
    """As `read_points` reads it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file)
        write.writerow(("parameters", "tokens", "loss"))
        write.writerows(zip(points.parameters, points.tokens, points.loss, strict=True))


def _find_columns(path: Path, heads: list[str]) -> dict[str, int]:
    plain = [head.strip().lower().replace("_", " ") for head in heads]
    places: dict[str, int] = {}
    for name, spellings in NAMES.items():
        at = next((plain.index(each) for each in spellings if each in plain), None)
        if at is not None:
            places[name] = at
    if "loss" not in places or len(places) < 3:
        raise UserError(
            f"{path} has the columns {', '.join(heads)}: a law is fitted on `loss` and two of "
            "`parameters`, `tokens` and `flop`. Name them so in its first line."
        )
    return places


def _read_number(path: Path, line: int, head: str, row: list[str], at: int) -> float:
    cell = row[at].strip() if at < len(row) else ""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"line {line} of {path} has {cell or 'nothing'} as its {head}: give a number above 0, "
            "or leave the line out."
        )
    return value
