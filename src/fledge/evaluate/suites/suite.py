"""The suites by name: how their rows are read, how answers are judged, and which figure counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fledge.errors import UserError
from fledge.evaluate.suites.answers import judge_bbh, judge_gsm8k, judge_math
from fledge.evaluate.suites.asked_readers import (
    read_bbh,
    read_gsm8k,
    read_humaneval,
    read_ifeval,
    read_math,
    read_prompt,
)
from fledge.evaluate.suites.choice_readers import (
    describe_mmlu,
    read_arc,
    read_boolq,
    read_mmlu,
    read_openbookqa,
    read_piqa,
    read_winogrande,
)
from fledge.evaluate.suites.instructions import judge_ifeval
from fledge.evaluate.suites.questions import Judge, Question
from fledge.evaluate.suites.rows import bare, find_file, read_rows

SuiteName = Literal[
    "arc_easy", "arc_challenge", "boolq", "piqa", "winogrande", "openbookqa", "mmlu",
    "gsm8k", "math", "bbh", "humaneval", "ifeval", "prompts",
]  # fmt: skip
NAMES: tuple[str, ...] = get_args(SuiteName)


@dataclass(frozen=True)
class Suite:
    """names: as its files, and the rows of a file with several suites, call it. counts: the rule,
    of those for choices, whose accuracy is reported. judge: of answers in words; None where choices
    are compared, programs run, or
    (pairwise) answers of two models. describe: what stands before all questions of a row's subject.
    """

    name: str
    names: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], Question]
    counts: str = "raw"
    judge: Judge | None = None
    programs: bool = False
    pairwise: bool = False
    max_new_tokens: int = 256
    describe: Callable[[Mapping[str, Any]], str] = lambda row: ""

    @property
    def chosen(self) -> bool:
        """Whether answers are chosen, not said."""
        return self.judge is None and not self.programs and not self.pairwise


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("arc_easy", ("arc_easy", "ARC-Easy"), read_arc),
        Suite("arc_challenge", ("arc_challenge", "ARC-Challenge"), read_arc, counts="byte"),
        Suite("boolq", ("boolq",), read_boolq),
        Suite("piqa", ("piqa",), read_piqa),
        Suite("winogrande", ("winogrande",), read_winogrande),
        Suite("openbookqa", ("openbookqa", "obqa"), read_openbookqa, counts="byte"),
        Suite("mmlu", ("mmlu",), read_mmlu, describe=describe_mmlu),
        Suite("gsm8k", ("gsm8k",), read_gsm8k, judge=judge_gsm8k),
        Suite("math", ("math",), read_math, judge=judge_math, max_new_tokens=512),
        Suite("bbh", ("bbh", "bigbenchhard"), read_bbh, judge=judge_bbh, max_new_tokens=128),
        Suite("humaneval", ("humaneval",), read_humaneval, programs=True, max_new_tokens=512),
        Suite("ifeval", ("ifeval",), read_ifeval, judge=judge_ifeval, max_new_tokens=512),
        Suite("prompts", ("prompts",), read_prompt, pairwise=True),
    )
}


@dataclass(frozen=True)
class Asked:
    """What a model is asked. before: of each question, its description and examples with their
    answers. subjects: of each, "" where the suite has none.
    """

    suite: Suite
    file: Path
    questions: list[Any]
    before: list[str]
    subjects: list[str]
    examples: int


def open_suite(name: str, given: Path, *, shots: int = 0, questions: int | None = None) -> Asked:
    """The first so many questions of a file's test rows, or of all where it has no splits; behind
    `shots` examples, the first of its other rows, or else the first of all, which are then not
    asked. Raises UserError for a file that cannot be read, and for one with too few rows.
    """
    suite = SUITES[name]
    file = find_file(given, suite.names)
    mine, total = [], 0
    wanted = {bare(each) for each in suite.names}
    for where, row in read_rows(file):
        total += 1
        # In a file of several suites each row says of which it is; BBH's say which of its tasks.
        task = row.get("task")
        if isinstance(task, str) and name not in ("bbh", "prompts") and bare(task) not in wanted:
            continue
        mine.append((where, row))
    if not mine:
        raise UserError(
            f"{file} has {total} rows, and none is of {name}: give the file of that suite."
        )
    tests = [each for each in mine if each[1].get("split") in ("test", "validation", None)]
    others = [each for each in mine if each[1].get("split") in ("train", "dev")]
    if not tests:
        tests, others = mine, []
    if len(others) < shots:
        others, tests = tests[:shots], tests[shots:]
    if len(others) < shots or not tests:
        raise UserError(
            f"{file} has {len(mine)} rows of {name}, of which shots={shots} leaves none to ask: "
            "lower shots."
        )
    tests = tests[:questions]
    shown = "".join(f"{suite.read(row, where).shown}\n\n" for where, row in others[:shots])
    return Asked(
        suite,
        file,
        [suite.read(row, where) for where, row in tests],
        [suite.describe(row) + shown for _, row in tests],
        [str(row.get("subject") or (row.get("task") if name == "bbh" else "") or "")
         for _, row in tests],
        shots,
    )  # fmt: skip
