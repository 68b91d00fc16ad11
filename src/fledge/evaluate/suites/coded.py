"""HumanEval's judge: a completion with the tests behind it, run in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fledge.evaluate.suites.questions import AskedQuestion, Marked
from fledge.programs.limits import Outcome, Program
from fledge.programs.pool import ProgramPool

_BLOCK = re.compile(r"```(?:python|py)?\n(.*?)(?:```|\Z)", re.DOTALL)


def judge_humaneval(
    asked: Sequence[AskedQuestion], answers: Sequence[str], pool: ProgramPool
) -> list[Marked]:
    """Right is what comes to the end of its tests; a program that exits before them has not."""
    programs = [
        Program(
            f"{complete_program(question, text)}\n{question.row['test']}\n"
            f"check({question.row['entry_point']})\n"
        )
        for question, text in zip(asked, answers, strict=True)
    ]
    return [mark_outcome(outcome) for outcome in pool.run(programs)]


def complete_program(question: AskedQuestion, text: str) -> str:
    """The prompt with what was said behind it; of an answer with a block of code the block, which
    may define the function itself.
    """
    block = _BLOCK.search(text)
    code = text if block is None else block[1]
    begins = rf"^\s*def {re.escape(question.row['entry_point'])}\b"
    if re.search(begins, code, re.MULTILINE):
        # Its imports, and functions that it or the tests call.
        before = re.split(begins, question.row["prompt"], maxsplit=1, flags=re.MULTILINE)[0]
        return f"{before}\n{code}"
    return question.row["prompt"] + code


def mark_outcome(outcome: Outcome) -> Marked:
    """error: only where the program could not be judged, not where it was wrong."""
    error = outcome.error if outcome.ended == "lost" else ""
    return Marked(outcome.whole, outcome.ended, {}, error)
