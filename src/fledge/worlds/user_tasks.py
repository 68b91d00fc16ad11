"""The user's own task: a Python file with `prompts()` and `score(prompt, completion)`, or a .jsonl with answers.

Rows are finite, so a task made of them cycles: each pass over a split visits every row once, in an order that depends
on the seed and the number of the pass. A row is held out by a hash of its prompt, so the split does not move when rows
are added; where there are too few to split, all serve for training and for testing, and `note` says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from fledge.errors import UserError
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split, checked, divide, prompt_key
from fledge.worlds.examples import Answered, Example, draw
from fledge.worlds.user_code import call, load_module, read_source

Judge = Callable[[list[str], list[str]], list[float]]  # prompts [B], completions [B] -> scores [B]

ROUNDING = 1e-6  # a mean of float32 ones may come out above 1 by this much


@dataclass
class Rows:
    """Examples in a file's order, by the split of their prompts, dealt out in shuffled passes."""

    by_split: dict[Split, list[Example]]
    note: str | None
    seed: int
    _orders: dict[tuple[Split, int], np.ndarray] = field(default_factory=dict, repr=False)

    def at(self, index: int, split: Split) -> Example:
        """Row `index % n` of pass `index // n`."""
        rows = self.by_split[checked(split)]
        turn, place = divmod(index, len(rows))
        if (split, turn) not in self._orders:
            # Raw Philox words: their stream is fixed, whereas numpy may change how it shuffles from version to version.
            words = np.random.Philox(key=draw(f"{self.seed} rows {split} {turn}", 64) % 2**128).random_raw(len(rows))
            self._orders = {k: v for k, v in self._orders.items() if k[0] != split}  # one pass of each split is enough
            self._orders[split, turn] = np.argsort(words, kind="stable")
        return rows[self._orders[split, turn][place]]


def rows_of(path: Path, examples: list[Example], seed: int) -> Rows:
    """By the prompts, as `fledge.splits` has it; too few different prompts serve for all splits."""
    sides = divide(prompt_key(e.prompt) for e in examples)
    if sides is None:
        different = len({prompt_key(e.prompt) for e in examples})
        note = (
            f"{path} has only {different} different prompts, so all are used for training and for testing, and its "
            f"test score says nothing about new prompts (give {FEWEST_TO_SPLIT} or more to hold some out)."
        )
        return Rows(dict.fromkeys(SPLITS, examples), note, seed)
    by_split: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for example in examples:
        by_split[sides[prompt_key(example.prompt)]].append(example)
    return Rows(by_split, None, seed)


@dataclass(frozen=True)
class AnswerFileTask(Answered):
    """Rows of a .jsonl with a prompt and the one right answer."""

    name: str
    rows: Rows

    @property
    def note(self) -> str | None:
        return self.rows.note

    @property
    def holds_out(self) -> bool:
        return self.rows.note is None

    def example(self, index: int, split: Split) -> Example:
        return self.rows.at(index, split)


def answer_file_task(name: str, seed: int) -> AnswerFileTask:
    """Reads a .jsonl, one object a line, with strings `prompt` and `answer`; blank lines and other fields are ignored.

    Raises UserError, with the number of the line, for a line that is not JSON, lacks a field, or has an empty answer.
    """
    path, examples = Path(name), []
    # Not splitlines(): JSON allows U+2028 inside a string, and that is no end of a line.
    for number, line in enumerate(read_source(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            what = f"{error.msg} at column {error.colno}"
            raise UserError(f"{path} line {number} is not JSON ({what}): mend or remove that line.") from error
        except (ValueError, RecursionError) as error:  # an integer of 5,000 digits, brackets 1,000 deep
            raise UserError(f"{path} line {number} cannot be read ({error}): mend or remove that line.") from error
        if not isinstance(row, dict):
            raise UserError(
                f'{path} line {number} is not an object: write {{"prompt": "…", "answer": "…"}} on each line.'
            )
        for wanted in ("prompt", "answer"):
            if wanted not in row:
                raise UserError(
                    f"{path} line {number} has no `{wanted}`: each row needs the strings `prompt` and `answer`."
                )
            if not is_text(row[wanted]):
                raise UserError(f"{path} line {number} has a `{wanted}` that is not text: write it as a JSON string.")
        if not row["answer"].strip():
            raise UserError(f"{path} line {number} has an empty `answer`: silence cannot be rewarded, so give a text.")
        examples.append(Example(row["prompt"], row["answer"], name))
    return AnswerFileTask(name, rows_of(path, examples, seed))


def is_text(value: Any) -> TypeGuard[str]:
    """Is this a string that UTF-8 can write? JSON can spell one that it cannot, such as half a character."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


@dataclass(frozen=True)
class PythonTask:
    """Prompts and a judge from a Python file. A completion is exact where the file's own score is 1."""

    name: str
    rows: Rows
    judge: Judge

    @property
    def note(self) -> str | None:
        return self.rows.note

    @property
    def holds_out(self) -> bool:
        return self.rows.note is None

    def example(self, index: int, split: Split) -> Example:
        return self.rows.at(index, split)

    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[float]:
        """The file's scores.  [B], [B] -> [B]

        Raises UserError where the file raises, or returns anything but one number in [0, 1] for each completion.
        """
        if len(examples) != len(completions):
            raise ValueError(f"{len(examples)} examples came with {len(completions)} completions: give one for each.")
        return self.judge([e.prompt for e in examples], list(completions)) if examples else []

    def exact(self, examples: Sequence[Example], completions: Sequence[str]) -> list[bool]:
        """The file decides what is right, and several completions may be.  [B], [B] -> [B]"""
        return [score == 1.0 for score in self.score(examples, completions)]


def python_task(name: str, seed: int) -> PythonTask:
    """Runs a Python file that defines

        prompts() -> list                          of strings, or of dicts with `prompt` and perhaps `answer`
        score(prompt: str, completion: str)        -> a number from 0 (worthless) to 1 (right)
        scores(prompts: list, completions: list)   -> a list of them: used instead of `score` where both are there

    Raises UserError where the file lacks one of them, raises, or returns something else.
    """
    path = Path(name)
    module = load_module(path)
    prompts, score, scores = (vars(module).get(function) for function in ("prompts", "score", "scores"))
    if not callable(prompts):
        raise UserError(f"{path} has no function prompts(): define one that returns a list of prompts.")
    if callable(scores):
        judge = judge_of_batches(path, scores)
    elif callable(score):
        judge = judge_of_one(path, score)
    else:
        raise UserError(
            f"{path} has no function score(prompt, completion): define one that returns a number from 0 to 1."
        )
    given = call(path, "prompts()", prompts, "while the prompts were listed")
    if not isinstance(given, list | tuple) or not given:
        kind = "an empty list" if isinstance(given, list | tuple) else f"a value of type {type(given).__name__}"
        raise UserError(f"{path}: prompts() returned {kind}: return a list of at least one prompt.")
    examples = [example_of(path, name, place, row) for place, row in enumerate(given)]
    return PythonTask(name, rows_of(path, examples, seed), judge)


def judge_of_one(path: Path, score: Callable[[str, str], Any]) -> Judge:
    """The file's `score`, called for one completion after the other."""

    def judge(prompts: list[str], completions: list[str]) -> list[float]:
        found = []
        for prompt, completion in zip(prompts, completions, strict=True):
            when = f"on the prompt {shortened(prompt)}"
            found.append(in_range(path, call(path, "score()", score, when, prompt, completion), when))
        return found

    return judge


def judge_of_batches(path: Path, scores: Callable[[list[str], list[str]], Any]) -> Judge:
    """The file's `scores`, called once for all completions; it may return an array or a tensor."""

    def judge(prompts: list[str], completions: list[str]) -> list[float]:
        when = f"on {len(prompts)} prompts, the first of them {shortened(prompts[0])}"
        found = call(path, "scores()", scores, when, list(prompts), list(completions))
        found = found.tolist() if hasattr(found, "tolist") else found
        if not isinstance(found, list | tuple):
            kind = type(found).__name__
            raise UserError(f"{path}: scores() returned a value of type {kind} {when}: return a list of numbers.")
        if len(found) != len(prompts):
            raise UserError(f"{path}: scores() returned {len(found)} scores {when}: return one for each completion.")
        return [in_range(path, s, f"on the prompt {shortened(p)}") for s, p in zip(found, prompts, strict=True)]

    return judge


def example_of(path: Path, name: str, place: int, row: Any) -> Example:
    """One entry of what prompts() returned, a string or a dict, as an example."""
    prompt, answer = (row.get("prompt"), row.get("answer")) if isinstance(row, dict) else (row, None)
    if not is_text(prompt) or (answer is not None and not is_text(answer)):
        raise UserError(
            f"{path}: entry {place} of prompts() is {shortened(row)}: make it a string, or a dict with the string "
            "`prompt` and perhaps the string `answer`."
        )
    return Example(prompt, answer, name)


def in_range(path: Path, value: Any, when: str) -> float:
    """The value as a float. Raises UserError unless it is a number from 0 to 1 (or a tensor of one)."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # the third is a tensor of several elements
        number = math.nan
    if not -ROUNDING <= number <= 1.0 + ROUNDING:
        raise UserError(
            f"{path}: the score was {shortened(value)} {when}: return a number from 0 (worthless) to 1 (right)."
        )
    return min(1.0, max(0.0, number))


def shortened(value: Any) -> str:
    """How a value is written in a sentence: its repr, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
