"""A task of Python's: prompts in a .jsonl, and a function that judges what is said to them.

    reward(prompt: str, completion: str)            -> a finite number; or a pair (number, is it
    reward(prompt, completion, answer)                 right?)

With a parameter `answer` it is given the prompt's own, None where there is none. It runs in this
process, where it was made.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.questions import read_question
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.own_judge import read_verdict
from fledge.tasks.rows import Admit, ExampleRows, OfRows, PromptSides, list_usable
from fledge.text.files import JsonLine, json_lines
from fledge.user_code import (
    FROM_PYTHON,
    abbreviate,
    call,
    describe_deed,
    look_in_current_folder,
    tell_as,
)

Reward = Callable[..., Any]


@dataclass(frozen=True)
class GivenTask:
    """What the field `task` of a recipe holds where a function judges. As a string, which a run's
    config.json keeps, `python:MODULE:FUNCTION:PROMPTS`.
    """

    prompts: Path
    reward: Reward

    def __str__(self) -> str:
        return f"{FROM_PYTHON}{name_function(self.reward)}:{self.prompts}"


def name_function(reward: Reward) -> str:
    """MODULE:FUNCTION; in angle brackets where no import finds it again: a lambda, a method, one
    of a script or a notebook.
    """
    module = getattr(reward, "__module__", None) or type(reward).__module__
    name = getattr(reward, "__qualname__", f"<{type(reward).__name__}>")
    held = getattr(sys.modules.get(module), name, None)
    if module == "__main__" or held is not reward:
        name = f"<{name.strip('<>')}>"
    return f"{module}:{name}"


def split_name(name: str) -> tuple[str, str, Path] | None:
    """Module, function and prompts of a `GivenTask`'s name; None for another name."""
    parts = name.removeprefix(FROM_PYTHON).split(":", 2)
    if not name.startswith(FROM_PYTHON) or len(parts) != 3:
        return None
    return parts[0], parts[1], Path(parts[2])


def find_given(name: str) -> GivenTask:
    """The task of such a name, its function imported. Raises UserError where no import finds it."""
    parts = split_name(name)
    if parts is None:
        raise UserError(f"{name} is no task of Python's: give prompts and a function again.")
    module, function, prompts = parts
    again = (
        f"the reward of this run was a function of Python's ({module}:{function}), which cannot be "
        "found by its name: give it again, fledge.resume(RUN, reward=FUNCTION)."
    )
    reward = None
    if not function.startswith("<"):
        look_in_current_folder()
        with tell_as(lambda error: f"{again} Its module {describe_deed(error)}."):
            reward = getattr(importlib.import_module(module), function, None)
    if not callable(reward):
        raise UserError(again)
    return GivenTask(prompts, reward)


def list_given_files(name: str) -> list[Path]:
    """What such a task reads: its prompts, and the file of a function that an import finds."""
    parts = split_name(name)
    if parts is None:
        return []
    module, function, prompts = parts
    return [prompts] if function.startswith("<") else [prompts, *_find_source(module)]


def _find_source(module: str) -> list[Path]:
    look_in_current_folder()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    origin = spec.origin if spec is not None else None
    if origin is None or not origin.endswith(".py"):
        return []
    # by a name that stays true when the whole project is moved
    return [Path(os.path.relpath(origin) if Path(origin).is_relative_to(Path.cwd()) else origin)]


@dataclass(frozen=True)
class FunctionTask(OfRows):
    """Prompts of a file, judged by a function."""

    name: str
    rows: ExampleRows
    reward: Reward
    path: Path  # of the function, for what is said of it
    takes_answer: bool
    can_fail: bool = False

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The function's verdicts.  [B], [B] -> [B]. Raises UserError where it raises, or returns
        what is no score.
        """
        return [
            self._judge_one(example, completion)
            for example, completion in zip(examples, completions, strict=True)
        ]

    def _judge_one(self, example: Example, completion: str) -> Verdict:
        when = f"on the prompt {abbreviate(example.prompt)}"
        asked = partial(self.reward, answer=example.answer) if self.takes_answer else self.reward
        said = call(self.path, "the reward", asked, when, example.prompt, completion)
        return read_verdict(self.path, said, when)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what the function keeps is its own affair."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def load_function_task(given: GivenTask, seed: int, reading: Reading, admit: Admit) -> FunctionTask:
    """The prompts, read and divided as those of any file. Raises UserError for rows that are no
    prompts.
    """
    check_reward(given.reward)
    census, sides = Census(str(given.prompts), reading, rows="prompts"), PromptSides()
    name = f"{FROM_PYTHON}{name_function(given.reward)}"

    def make(line: JsonLine, number: int) -> Example:
        row = line.row
        if row.keys() <= {"prompt", "answer"} and isinstance(row.get("prompt"), str):
            answer = row.get("answer")
            example = Example(row["prompt"], None if answer is None else str(answer), name)
        else:
            where = f"line {number} of {given.prompts}"
            example = Example(*read_question(row, where, census), name)
        admit(example)
        return example

    examples: list[Example] = []
    numbered = ((line.number, line) for line in json_lines(given.prompts))
    for _, example in list_usable(census, numbered, make):
        sides.append(example.prompt)
        examples.append(example)
    rows = sides.deal(str(given.prompts), examples, seed, [census])
    return FunctionTask(name, rows, given.reward, _path_of(given.reward), _takes(given.reward))


def _path_of(reward: Reward) -> Path:
    code = getattr(inspect.unwrap(reward), "__code__", None)
    return Path(code.co_filename) if code is not None else Path(name_function(reward))


def check_reward(reward: Reward) -> None:
    """Raises UserError for a function that cannot be called as a reward is."""
    try:
        signature = inspect.signature(reward)
    except (TypeError, ValueError):  # one that is written in C
        return
    also = {"answer": None} if "answer" in signature.parameters else {}
    try:
        signature.bind("", "", **also)
    except TypeError:
        raise UserError(
            f"the reward takes {signature}, and is called as reward(prompt, completion), or "
            "reward(prompt, completion, answer=…) where it has a parameter of that name: give it "
            "these."
        ) from None


def _takes(reward: Reward) -> bool:
    """Whether it has a parameter `answer`."""
    try:
        return "answer" in inspect.signature(reward).parameters
    except (TypeError, ValueError):  # one that is written in C
        return False
