"""Finds a task by its name or its file, and mixes several into one."""

from __future__ import annotations

import difflib
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.splits import Split
from fledge.tasks.answer_file import AnswerFileTask, load_answer_file_task
from fledge.tasks.conversed import Conversed, count_turns
from fledge.tasks.examples import Example, Task, Verdict, draw_integer
from fledge.tasks.given import FunctionTask, GivenTask, find_given, load_function_task
from fledge.tasks.minds.mind_task import MIND_TASKS, list_kinds, make_mind_task
from fledge.tasks.own_process import Limits
from fledge.tasks.python_task import PythonTask
from fledge.tasks.python_world import load_python_task
from fledge.tasks.reasoning_gym import PREFIX as REASONING_GYM
from fledge.tasks.reasoning_gym import load_reasoning_gym
from fledge.tasks.rows import Admit
from fledge.tasks.slots import SlotTask
from fledge.tasks.textworld_games import PREFIX as TEXTWORLD
from fledge.tasks.textworld_games import load_textworld
from fledge.tasks.words import (
    NUMBER_LENGTHS,
    NUMBER_TASKS,
    WORD_LENGTHS,
    WORD_TASKS,
    NumberTask,
    WordTask,
)
from fledge.tasks.worlds.make import WORLDS, list_levels, make_world
from fledge.user_code import FROM_PYTHON

__all__ = [
    "BUILT_IN",
    "Example",
    "Split",
    "Task",
    "TaskMixture",
    "Verdict",
    "draw_questions",
    "finite_rows",
    "list_censuses",
    "load_task",
]  # fmt: skip

BUILT_IN = ("reverse", "sort", "numbers", "add", "upper", "last")
LONGEST_ALLOWED = 1000
_OF_ROWS = (AnswerFileTask, SlotTask, PythonTask, FunctionTask)


@dataclass(frozen=True)
class TaskMixture:
    """Several tasks in turn: among k examples in a row each task has one, in an order that depends
    on the seed.

    Example i of the mixture is example i // k of one of its parts, so a part made of rows visits
    each once a pass.
    """

    name: str
    parts: tuple[Task, ...]
    seed: int

    @property
    def note(self) -> str | None:
        """The notes of the parts, one after the other."""
        return " ".join(part.note for part in self.parts if part.note) or None

    @property
    def holds_out(self) -> bool:
        return all(part.holds_out for part in self.parts)

    @property
    def can_fail(self) -> bool:
        return any(part.can_fail for part in self.parts)

    @property
    def turns(self) -> int:
        return max(count_turns(part) for part in self.parts)

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        """What the example's own part answers; nothing where that asks for a single text."""
        part = self.find_part(example)
        if count_turns(part) == 1:
            return None
        assert isinstance(part, Conversed)
        return part.reply(example, said)

    def find_part(self, example: Example) -> Task:
        return next(part for part in self.parts if part.name == example.task)

    def example(self, index: int, split: Split) -> Example:
        turn, place = divmod(index, len(self.parts))
        waiting, uniform = (
            list(self.parts),
            draw_integer(f"{self.seed} mixture {split} {turn}", 8 * len(self.parts)),
        )
        for _ in range(place):
            uniform, choice = divmod(uniform, len(waiting))
            waiting.pop(choice)
        return waiting[uniform % len(waiting)].example(turn, split)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """Each part judges its own examples, in one call.  [B], [B] -> [B]"""
        verdicts: dict[int, Verdict] = {}
        for part, places in self._by_part(examples, completions):
            said = part.judge([examples[i] for i in places], [completions[i] for i in places])
            verdicts |= zip(places, said, strict=True)
        return [verdicts[i] for i in range(len(examples))]

    def state_dict(self) -> dict[str, Any]:
        return {part.name: part.state_dict() for part in self.parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for part in self.parts:
            part.load_state_dict(state[part.name])

    def _by_part(
        self, examples: Sequence[Example], completions: Sequence[str]
    ) -> list[tuple[Task, list[int]]]:
        if len(examples) != len(completions):
            raise ValueError(
                f"{len(examples)} examples came with {len(completions)} completions: give one for "
                "each."
            )
        places: dict[str, list[int]] = {part.name: [] for part in self.parts}
        for i, example in enumerate(examples):
            places[example.task].append(i)
        return [(part, places[part.name]) for part in self.parts if places[part.name]]


def load_task(
    spec: str | GivenTask,
    *,
    seed: int = 0,
    shortest: int | None = None,
    longest: int | None = None,
    limits: Limits | None = Limits(),  # noqa: B008 (frozen)
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    admit: Admit = lambda _: None,
) -> Task:
    """The task that `spec` names: a built-in ("reverse"), several ("reverse,upper"), all built-ins
    ("words"), or a file of the user's own ("./mine.py", "./mine.jsonl", or "rows-*.jsonl", which
    are one task); a mixture may hold files too; or a `GivenTask`, where a function of Python's
    judges.

    shortest, longest: letters a word, digits a number, of the built-in tasks; 4 to 8 letters and 1
    to 3 digits unless given. Files have the lengths they have. limits: of the process in which a
    .py file runs; None runs it in this one.
    reading, admit: what is to become of rows of files that cannot be used, and of examples that
        `admit` finds Unusable.

    Raises UserError for an unknown name (with the nearest one), lengths that make no range, and a
    file that is no task.
    """
    if isinstance(spec, GivenTask):
        return load_function_task(spec, seed, reading, admit)
    if spec.startswith(FROM_PYTHON):
        return load_function_task(find_given(spec), seed, reading, admit)
    names = []
    # a path that holds a comma is taken whole
    for name in [spec] if os.path.isfile(spec) else spec.split(","):
        names.extend(list_parts(name.strip()))
    parts = tuple(
        load_single_task(name, seed, (shortest, longest), limits, reading, admit) for name in names
    )
    for part in parts:
        if [other.name for other in parts].count(part.name) > 1:
            raise UserError(
                f"the task {spec!r} names {part.name} twice: name each part of a mixture once."
            )
    return parts[0] if len(parts) == 1 else TaskMixture(spec, parts, seed)


def list_parts(name: str) -> Sequence[str]:
    """What a name such as words, household:1-3 or false_beliefs stands for; else itself."""
    if name == "words":
        return BUILT_IN
    return list_kinds(name) if name.partition(":")[0] in MIND_TASKS else list_levels(name)


def load_single_task(
    name: str,
    seed: int,
    ends: tuple[int | None, int | None],
    limits: Limits | None,
    reading: Reading,
    admit: Admit,
) -> Task:
    """One built-in task or one file."""
    if name in WORD_TASKS:
        return WordTask(name, seed, *choose_lengths("letters", WORD_LENGTHS, *ends))
    if name in NUMBER_TASKS:
        return NumberTask(name, seed, *choose_lengths("digits", NUMBER_LENGTHS, *ends))
    if (world := make_world(name, seed)) is not None:
        return world
    if (minds := make_mind_task(name, seed)) is not None:
        return minds
    if name.startswith(REASONING_GYM):
        return load_reasoning_gym(name, seed)
    if name.startswith(TEXTWORLD):
        return load_textworld(name, seed)
    path = Path(name).expanduser()
    if path.suffix == ".py":
        return load_python_task(str(path), seed, limits, reading, admit)
    if path.suffix == ".jsonl":
        return load_answer_file_task(str(path), seed, reading, admit)
    known = f"{', '.join(BUILT_IN)}, or words for all of them, {', '.join([*WORLDS, *MIND_TASKS])}"
    if path.suffix or "/" in name:
        raise UserError(
            f"the task {name!r} is neither a .py nor a .jsonl file: give one of these, or {known}."
        )
    near = difflib.get_close_matches(name.lower(), [*BUILT_IN, "words", *WORLDS, *MIND_TASKS], n=1)
    perhaps = f"perhaps you meant {near[0]}; " if near else ""
    raise UserError(
        f"there is no task {name!r}: {perhaps}give {known}, or a .py or .jsonl file of your own."
    )


def list_censuses(task: Task) -> list[Census]:
    """The counts of the files that a task was read from, in their order; none of built-in tasks."""
    if isinstance(task, TaskMixture):
        return [census for part in task.parts for census in list_censuses(part)]
    return list(task.rows.censuses) if isinstance(task, _OF_ROWS) else []


def draw_questions(task: Task, split: Split, number: int) -> list[Example]:
    """The different ones among the first `number` examples: a file repeats its few, and saying one
    again proves nothing.
    """
    return list(dict.fromkeys(task.example(i, split) for i in range(number)))


def finite_rows(task: Task) -> int | None:
    """How many rows one pass over the training split has; None where it has no end, or where
    several tasks take turns.
    """
    return task.rows.count("train") if isinstance(task, _OF_ROWS) else None


def choose_lengths(
    unit: str, usual: tuple[int, int], shortest: int | None, longest: int | None
) -> tuple[int, int]:
    """The range of lengths; an end that is not given is the usual one, moved as far as the other
    end pushes it.
    """
    low, high = usual
    if shortest is not None:
        low, high = shortest, max(high, shortest)
    if longest is not None:
        low, high = low if shortest is not None else min(low, longest), longest
    if not 1 <= low <= high <= LONGEST_ALLOWED:
        raise UserError(
            f"lengths from {low} to {high} {unit} make no range: `shortest` is at least 1, and "
            f"`longest` at least `shortest` and at most {LONGEST_ALLOWED}."
        )
    return low, high
