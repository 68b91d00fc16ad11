"""The user's own task: a Python file with `prompts()` and `score(prompt, completion)`, or a .jsonl
with answers.

Rows are finite, so a task made of them cycles: each pass over a split visits every row once, in an
order that depends on the seed and the number of the pass. A row is held out by a hash of its
prompt, so the split does not move when rows are added; where there are too few to split, all serve
for training and for testing, and `note` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fledge.errors import UserError
from fledge.rows.census import Census, Reading, Unusable
from fledge.rows.questions import read_question
from fledge.seeds import seed_for
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split, checked, divide, prompt_key
from fledge.tasks.examples import Answered, Example, Verdict, draw
from fledge.tasks.judge_process import JudgeProcess, Limits
from fledge.tasks.own_judge import OwnJudge, is_text
from fledge.user_code import read_source

Maker = Callable[[int, Any], Example]
Admit = Callable[[Example], None]  # raises Unusable for an example that its user has no use for


@dataclass
class Rows:
    """Examples in a file's order, by the split of their prompts, dealt out in shuffled passes."""

    by_split: dict[Split, list[Example]]
    note: str | None
    seed: int
    census: Census
    _orders: dict[tuple[Split, int], np.ndarray] = field(default_factory=dict, repr=False)

    def at(self, index: int, split: Split) -> Example:
        """Row `index % n` of pass `index // n`."""
        rows = self.by_split[checked(split)]
        turn, place = divmod(index, len(rows))
        if (split, turn) not in self._orders:
            # Raw Philox words: their stream is fixed, whereas numpy may change how it shuffles from
            # version to version.
            words = np.random.Philox(
                key=draw(f"{self.seed} rows {split} {turn}", 64) % 2**128
            ).random_raw(len(rows))
            # one pass of each split is enough
            self._orders = {k: v for k, v in self._orders.items() if k[0] != split}
            self._orders[split, turn] = np.argsort(words, kind="stable")
        return rows[self._orders[split, turn][place]]


def divide_rows(
    path: Path, census: Census, entries: Iterable[tuple[int, Any]], make: Maker, seed: int
) -> Rows:
    """By the prompts, as `fledge.splits` has it; too few different prompts serve for all splits.

    entries: each with its number. make: the example of an entry; Unusable where it cannot be used,
    which is counted. Raises UserError if there are any of these, and they are not to be skipped.
    """
    examples = []
    for number, entry in entries:
        census.read += 1
        try:
            examples.append(make(number, entry))
        except Unusable as fault:
            census.leave_out(fault.reason, number)
    census.settle()
    sides = divide(prompt_key(e.prompt) for e in examples)
    if sides is None:
        different = len({prompt_key(e.prompt) for e in examples})
        note = (
            f"{path} has only {different} different prompts, so all are used for training and for "
            f"testing, and its test score says nothing about new prompts (give {FEWEST_TO_SPLIT} "
            "or more to hold some out)."
        )
        return Rows(dict.fromkeys(SPLITS, examples), note, seed, census)
    by_split: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for example in examples:
        by_split[sides[prompt_key(example.prompt)]].append(example)
    return Rows(by_split, None, seed, census)


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


def load_answer_file_task(name: str, seed: int, reading: Reading, admit: Admit) -> AnswerFileTask:
    """Reads a .jsonl, one object a line, with a prompt and its answer in any shape that `fledge
    tune` reads.

    Raises UserError, with the number of the line, for a line that is not JSON or has another shape,
    and, counted, for lines that cannot be used.
    """
    path = Path(name)
    census = Census(name, reading)

    def make(number: int, row: dict[str, Any]) -> Example:
        where = f"{path} line {number}"
        prompt, answer = read_question(row, where, census)
        if not is_text(prompt) or not is_text(answer):
            raise UserError(
                f"{where} holds half of a surrogate pair, which is no character: repair or remove "
                "it."
            )
        example = Example(prompt, answer, name)
        admit(example)
        return example

    return AnswerFileTask(name, divide_rows(path, census, read_numbered_rows(path), make, seed))


def read_numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every line of a .jsonl that is not blank, with its number. Raises UserError for one that is
    no JSON object.
    """
    # Not splitlines(): JSON allows U+2028 inside a string, and that is no end of a line.
    for number, line in enumerate(read_source(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            what = f"{error.msg} at column {error.colno}"
            raise UserError(
                f"{path} line {number} is not JSON ({what}): mend or remove that line."
            ) from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # an integer of 5,000 digits, brackets 1,000 deep
            raise UserError(
                f"{path} line {number} cannot be read ({error}): mend or remove that line."
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f'{path} line {number} is not an object: write {{"prompt": "…", "answer": "…"}} on '
                "each line."
            )
        yield number, row


class Judge(Protocol):
    """A file of the user's that lists prompts and judges completions, in this process or in one of
    its own.
    """

    @property
    def pairs(self) -> Sequence[tuple[str, str | None]]: ...
    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class PythonTask:
    """Prompts and a judge from a Python file, which may fail on an answer where it has a process of
    its own.
    """

    name: str
    rows: Rows
    own: Judge
    can_fail: bool

    @property
    def note(self) -> str | None:
        return self.rows.note

    @property
    def holds_out(self) -> bool:
        return self.rows.note is None

    def example(self, index: int, split: Split) -> Example:
        return self.rows.at(index, split)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """The file's verdicts, asked once.  [B], [B] -> [B]

        Raises UserError where the file raises, returns what is no score, or fails too often.
        """
        if len(examples) != len(completions):
            raise ValueError(
                f"{len(examples)} examples came with {len(completions)} completions: give one for "
                "each."
            )
        return self.own.judge([e.prompt for e in examples], list(completions))

    def state_dict(self) -> dict[str, Any]:
        return self.own.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.own.load_state_dict(state)


def load_python_task(
    name: str, seed: int, limits: Limits | None, reading: Reading, admit: Admit
) -> PythonTask:
    """A Python file with prompts() and score(), as `OwnJudge` has them; without limits it runs in
    this process.

    Raises UserError where the file lacks one of them, raises, hangs, dies, or returns something
    else.
    """
    path = Path(name)
    own: Judge
    if limits is None:
        own = OwnJudge(path, seed_for(seed, "judge", path.name))
    else:
        own = JudgeProcess(path, seed, limits)
    census = Census(name, reading, rows="prompts", lines="entries")

    def make(place: int, pair: tuple[str, str | None]) -> Example:
        example = Example(*pair, name)
        admit(example)
        return example

    return PythonTask(
        name,
        divide_rows(path, census, enumerate(own.pairs), make, seed),
        own,
        can_fail=limits is not None,
    )
