"""The fields of recipes that read rows, how many steps their epochs are, and what is said and kept
of rows left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from fledge.errors import UserError
from fledge.recipes.training import TrainingConfig
from fledge.rows.census import Census, Reading
from fledge.runs.show import Show
from fledge.splits import say_few
from fledge.text.conversations import read_conversations
from fledge.text.held_out import Divided, divide_rows
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import Tokenizer


class ReadingFields(BaseModel):
    """What to do with rows that are not as they should be."""

    bad_rows: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="rows that cannot be used: refuse the file, or leave them out and count them",
    )
    ignore_keys: str = Field(
        default="", description="keys of the rows to leave unread, with a comma between them"
    )

    @property
    def reading(self) -> Reading:
        return Reading(self.bad_rows, self.ignore_keys)


class RowsConfig(ReadingFields, TrainingConfig):
    """The fields of recipes that learn from rows again and again."""

    truncate: Literal["no", "left", "right"] = Field(
        default="no",
        description="rows longer than the context: bad rows, or the side on which they are cut",
    )
    epochs: int | None = Field(
        default=None, ge=1, description="passes over the training rows, in place of steps"
    )

    @property
    def reading(self) -> Reading:
        return Reading(self.bad_rows, self.ignore_keys, self.truncate)

    def check_epochs(self) -> None:
        """Raises UserError where a new run was given both a number of steps and a number of
        epochs.
        """
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise UserError(
                f"steps={self.steps} and epochs={self.epochs} were both given, and either says "
                "when to end: give one of them."
            )

    def with_epochs(self, rows: int | None, rows_per_step: int, source: str, show: Show) -> Self:
        """The same with as many steps as the epochs take, said in one line.

        rows: to train on, or None where they have no end: then UserError is raised if epochs were
            asked for.
        """
        if self.epochs is None:
            return self
        if rows is None:
            raise UserError(
                f"epochs={self.epochs} was given, and {source} has examples without end: give "
                "steps in its place."
            )
        steps = -(-self.epochs * rows // rows_per_step)
        show.line(
            f"epochs={self.epochs} of {rows:,} rows to train on, {rows_per_step} a step, are "
            f"{steps:,} steps."
        )
        return self.model_copy(update={"steps": steps})

    def rows_in_all(self, rows: int | None) -> int | None:
        """After how many rows a sampler ends: at the last epoch's, or never."""
        return None if self.epochs is None or rows is None else self.epochs * rows


def divide_conversations(
    path: Path, tokenizer: Tokenizer, context: int, reading: Reading, show: Show
) -> tuple[Divided[TokenRow], list[Census]]:
    """Rows to train on and rows held out, prompt by prompt. Raises UserError as
    `read_conversations` does.
    """
    rows, censuses = read_conversations(path, tokenizer, context, reading)
    tell(censuses, show)
    divided = divide_rows(rows, lambda row: row, tokenizer)
    tell_held_out(path, divided, show)
    return divided, censuses


def tell_held_out(path: Path, divided: Divided[Any], show: Show) -> None:
    """A line where nothing is held out, or little."""
    few = say_few(str(path), {part: len(rows) for part, rows in divided.held_out.items()})
    note = f"{path}: {divided.note}." if divided.note else few
    if note:
        show.line(note)


def tell(censuses: Iterable[Census], show: Show) -> None:
    """A line for rows left out, for rows cut and for keys not read, of each file."""
    for census in censuses:
        for note in census.notes():
            show.line(note)
