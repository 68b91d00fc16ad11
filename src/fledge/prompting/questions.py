"""Questions of a file, with their answers, and the reasoning where the file has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.text.files import json_rows

ASKED = ("question", "prompt", "problem", "instruction", "input")
ANSWERED = ("answer", "target", "completion", "output", "response")
REASONED = ("reasoning", "rationale", "solution", "explanation")
_CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


@dataclass(frozen=True)
class Question:
    """reasoning: how the answer is come to, in words; "" where nobody has said it."""

    text: str
    answer: str
    reasoning: str = ""


def read_questions(path: Path) -> list[Question]:
    """A .jsonl (also .gz) with a question and its answer on each line, under the names that data
    sets give them. GSM8K's answers, "… #### 72", are reasoning and answer. Raises UserError.
    """
    questions = [read_row(row, f"line {line} of {path}") for line, row in json_rows(path)]
    if not questions:
        raise UserError(f"{path} has no questions: give a line of JSON for each.")
    return questions


def read_row(row: Mapping[str, Any], where: str) -> Question:
    asked = _take(row, ASKED, where)
    if row.get("instruction") and isinstance(row.get("input"), str) and row["input"].strip():
        asked = f"{row['instruction']}\n\n{row['input']}"  # Alpaca's two halves of one question
    answer, reasoning = _take(row, ANSWERED, where), ""
    before, mark, after = answer.rpartition("####")
    if mark:
        reasoning, answer = _CALCULATION.sub("", before).strip(), after.strip()
    for name in REASONED:
        if isinstance(row.get(name), str):
            reasoning = row[name].strip()
    return Question(asked, answer, reasoning)


def _take(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            return str(value).strip()
    raise UserError(
        f"{where} has none of {', '.join(f'`{name}`' for name in names)}: give each question a "
        "line with a `question` and an `answer`."
    )
