"""A task of the user's own in a .jsonl or several, each line a prompt with its one right answer; a
line is read again whenever it is asked for, and where it stands is all that is held.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import overload

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.questions import read_question
from fledge.tasks.examples import Answered, Example
from fledge.tasks.rows import Admit, ExampleRows, OfRows, PromptSides, list_usable
from fledge.tasks.slots import SlotTask, check_slots
from fledge.text.files import JsonLine, json_lines, open_bytes


@dataclass(frozen=True)
class AnswerFileTask(OfRows, Answered):
    """Rows with a prompt and the one right answer."""

    name: str
    rows: ExampleRows


class LinesOnDisk(Sequence[Example]):
    """The examples of a file that stays open: 16 bytes of memory each.

    A file that is replaced or removed meanwhile is still read as it was; of one that is written
    over, each line is held against what it was.
    """

    def __init__(self, path: Path, task: str, reading: Reading) -> None:
        """task: whose examples they are. Raises UserError for a file that is not there or cannot be
        read.
        """
        if not path.exists():
            raise UserError(
                f"there is no task file {path}: check the path, or name a built-in task."
            )
        self.path, self.task, self.reading = path, task, reading
        self._starts, self._sizes, self._checks = array("Q"), array("I"), array("I")
        with open_bytes(path) as file:
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
                f"{self.path} has changed at byte {start} since the run read it, and a task's file "
                "is read as long as the run goes on: put it back and resume the run."
            )
        name = str(self.path)
        census = Census(name, self.reading)  # the row has been counted already
        return Example(*read_question(json.loads(content), name, census), self.task)


class JoinedFiles(Sequence[Example]):
    """The examples of several files, one file after the other, which get no more once they are
    joined.
    """

    def __init__(self, files: Sequence[LinesOnDisk]) -> None:
        self._files, self._ends = files, list(accumulate(map(len, files)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Raises UserError where the line is not what it was."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        number = bisect_right(self._ends, index)
        file = self._files[number]
        return file[index - self._ends[number] + len(file)]


def load_answer_file_task(
    name: str, seed: int, reading: Reading, admit: Admit
) -> AnswerFileTask | SlotTask:
    """Reads a .jsonl, or all that a pattern fits, one object a line, with a prompt and its answer
    in any shape that `fledge tune` reads. Where rows have `slots` a completion is judged by those
    that it says.

    Raises UserError, with the number of the line, for a line that is not JSON or has another shape,
    and, counted, for lines that cannot be used.
    """
    files = [LinesOnDisk(path, name, reading) for path in list_named(name)]
    censuses = [Census(str(file.path), reading) for file in files]
    sides = PromptSides()
    tables = 0  # rows with slots

    def make(census: Census, line: JsonLine, number: int) -> Example:
        where = f"line {number} of {census.source}"
        nonlocal tables
        example = Example(*read_question(line.row, where, census), name)
        if "slots" in line.row:
            check_slots(example)
            tables += 1
        admit(example)
        return example

    for file, census in zip(files, censuses, strict=True):
        numbered = ((line.number, line) for line in json_lines(file.path))
        for line, example in list_usable(census, numbered, partial(make, census)):
            file.append(line)
            sides.append(example.prompt)
    examples = JoinedFiles(files)
    if tables not in (0, len(examples)):
        raise UserError(
            f"{tables} rows of {name} have `slots` and {len(examples) - tables} have none: they "
            "are judged in two ways, so make two tasks of them."
        )
    rows = sides.deal(name, examples, seed, censuses)
    return SlotTask(name, rows) if tables else AnswerFileTask(name, rows)
