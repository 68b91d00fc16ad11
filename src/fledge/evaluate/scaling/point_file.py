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
    "unique": ("unique tokens", "unique"),
    "epochs": ("epochs",),
    "repeats": ("repeats", "repetitions"),
    "loss": ("loss", "final loss", "validation loss", "l"),
}


def read_points(path: Path) -> Points:
    """Of parameters, tokens and flop two suffice: C = 6 N D gives the third. Where tokens were seen
    more than once, one of: unique_tokens; epochs, how often each was seen; repeats, how often
    again. Raises UserError, with line and column, for what is no positive number.
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
        least = 0.0 if name == "repeats" else None
        values = [_read_number(path, number, rows[0][at], row, at, least) for number, row in cells]
        columns[name] = np.array(values, dtype=np.float64)
    if "parameters" not in columns:
        columns["parameters"] = columns["flop"] / (TRAINING_FLOP * columns["tokens"])
    if "tokens" not in columns:
        columns["tokens"] = columns["flop"] / (TRAINING_FLOP * columns["parameters"])
    return Points(
        columns["parameters"], columns["tokens"], columns["loss"], _find_unique(path, columns)
    )


def _find_unique(path: Path, columns: dict[str, Array]) -> Array:
    """Unique tokens of each run. Raises UserError for more of them than tokens, and for two columns
    that say it.
    """
    given = [name for name in ("unique", "epochs", "repeats") if name in columns]
    if len(given) > 1:
        raise UserError(
            f"{path} says by {' and '.join(given)} how often tokens were seen: keep one of them."
        )
    tokens = columns["tokens"]
    unique = columns.get("unique", tokens / (columns.get("epochs", 1 + columns.get("repeats", 0))))
    more = np.flatnonzero(unique > tokens * (1 + 1e-9))
    if len(more):
        raise UserError(
            f"run {more[0] + 1} of {path} has {unique[more[0]]:,.0f} unique tokens of "
            f"{tokens[more[0]]:,.0f}: give at most as many, or epochs of 1 or more."
        )
    return unique


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
    told = sum(name in places for name in ("parameters", "tokens", "flop"))
    if "loss" not in places or told < 2:
        raise UserError(
            f"{path} has the columns {', '.join(heads)}: a law is fitted on `loss` and two of "
            "`parameters`, `tokens` and `flop`. Name them so in its first line."
        )
    return places


def _read_number(
    path: Path, line: int, head: str, row: list[str], at: int, least: float | None = None
) -> float:
    """Above 0, or from `least` on."""
    cell = row[at].strip() if at < len(row) else ""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and (value > 0 if least is None else value >= least)):
        wanted = "above 0" if least is None else f"from {least:g} on"
        raise UserError(
            f"line {line} of {path} has {cell or 'nothing'} as its {head}: give a number {wanted}, "
            "or leave the line out."
        )
    return value
