"""Sequences out of a table: one step a row, in the order of the file."""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.errors import UserError
from fledge.rows.point_files import read_points
from fledge.rows.points import Points
from fledge.rows.sequences import Sequences


def read_sequences(
    path: str | Path, *, sequence: str | None = None, symbols: bool = False
) -> Sequences:
    """sequence: the column that says which sequence a row is of; without, all rows are one.
    symbols: the one other column is of words or codes, not numbers.

    Raises UserError for a file that cannot be read, rows of a sequence that do not stand together,
    and a row that is of none.
    """
    points = read_points(path, labels=sequence, words=symbols)
    lengths = (len(points),)
    if points.label is not None and sequence is not None:
        lengths = count_runs(points, sequence)
    if not symbols:
        return Sequences(points.x, lengths, points.columns, source=points.source)
    if points.width > 1:
        raise UserError(
            f"{points.source} has columns {', '.join(points.columns[:5])}, and a sequence of "
            "symbols has one: leave the others out, or give sequence=COLUMN."
        )
    points.check_present("a sequence of symbols")
    codes = points.x[:, 0].long()
    return Sequences(codes, lengths, points.columns, points.levels[0], points.source)


def count_runs(points: Points, sequence: str) -> tuple[int, ...]:
    """How many rows one after the other have the same label."""
    label = points.label
    assert label is not None
    if bool((label < 0).any()):
        row = int((label < 0).nonzero()[0])
        raise UserError(
            f"{points.source}, point {row + 1}: {sequence} is missing, which says what sequence it "
            "is a step of: fill it in."
        )
    values, lengths = torch.unique_consecutive(label, return_counts=True)
    often = torch.bincount(values)
    if int(often.max()) > 1:
        name = points.names[int(often.argmax())]
        raise UserError(
            f"{points.source}: the rows with {sequence}={name} do not stand together: sort them, "
            "each sequence's steps one after the other in their order."
        )
    return tuple(lengths.tolist())
