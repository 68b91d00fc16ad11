"""A task of the user's own in a .jsonl, each line a prompt with its one right answer; a line is
read again whenever it is asked for, and where it stands is all that is held.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.questions import read_question
from fledge.tasks.examples import Answered, Example
from fledge.tasks.rows import Admit, ExampleRows, OfRows, PromptSides, list_usable
from fledge.tasks.slots import SlotTask, check_slots
from fledge.text.files import JsonLine, json_lines, open_bytes


@dataclass(frozen=True)
class AnswerFileTask(OfRows, Answered):
    """Rows of a .jsonl with a prompt and the one right answer."""

    name: str
    rows: ExampleRows


class LinesOnDisk(Sequence[Example]):
    """The examples of a file that stays open: 16 bytes of memory each.

    A file that is replaced or removed meanwhile is still read as it was; of one that is written
    over, each line is held against what it was.
    """

    def __init__(self, name: str, reading: Reading) -> None:
        """Raises UserError for a file that is not there or cannot be read."""
        if not os.path.exists(name):
            raise UserError(
                f"there is no task file {name}: check the path, or name a built-in task."
            )
        self.name, self.reading = name, reading
        self._starts, self._sizes, self._checks = array("Q"), array("I"), array("I")
        with open_bytes(Path(name)) as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)

    def append(self, line: JsonLine) -> None:
        self._starts.append(line.start)
        self._sizes.append(len(line.content))
        self._checks.append(zlib.crc32(line.content))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Raises UserError where the line is not what it was."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = self._starts[index]
        # at a place of its own: other threads and forks move no position of ours
        content = os.pread(self._file, self._sizes[index], start)
        if zlib.crc32(content) != self._checks[index]:
            raise UserError(
                f"{self.name} has changed at byte {start} since the run read it, and a task's file "
                "is read as long as the run goes on: put it back and resume the run."
            )
        census = Census(self.name, self.reading)  # the row has been counted already
        return Example(*read_question(json.loads(content), self.name, census), self.name)


def load_answer_file_task(
    name: str, seed: int, reading: Reading, admit: Admit
) -> AnswerFileTask | SlotTask:
    """Reads a .jsonl, one object a line, with a prompt and its answer in any shape that `fledge
    tune` reads. Where rows have `slots` a completion is judged by those that it says.

    Raises UserError, with the number of the line, for a line that is not JSON or has another shape,
    and, counted, for lines that cannot be used.
    """
    census, sides, lines = Census(name, reading), PromptSides(), LinesOnDisk(name, reading)
    tables = 0  # rows with slots

    def make(line: JsonLine, number: int) -> Example:
        where = f"line {number} of {name}"
        nonlocal tables
        example = Example(*read_question(line.row, where, census), name)
        if "slots" in line.row:
            check_slots(example)
            tables += 1
        admit(example)
        return example

    numbered = ((line.number, line) for line in json_lines(Path(name)))
    for line, example in list_usable(census, numbered, make):
        lines.append(line)
        sides.append(example.prompt)
    if tables not in (0, len(lines)):
        raise UserError(
            f"{tables} rows of {name} have `slots` and {len(lines) - tables} have none: they are "
            "judged in two ways, so put them in two files."
        )
    rows = sides.deal(name, lines, seed, census)
    return SlotTask(name, rows) if tables else AnswerFileTask(name, rows)
