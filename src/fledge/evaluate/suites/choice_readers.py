"""Rows of ARC, BoolQ, PIQA, WinoGrande, OpenBookQA and MMLU, as published or in one simple form
(`question`, `choices`, `label`), as questions in the words of lm-evaluation-harness 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.evaluate.suites.questions import ChoiceQuestion

LETTERS = "ABCDEFGHIJ"
NEUTRAL = "Answer:"  # Holtzman et al. 2021, §3.2: what a choice is worth whatever the question


def read_arc(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    question, choices, right = _read_choices(row, where)
    return _ask(f"Question: {question}\nAnswer:", choices, right, question)


def read_openbookqa(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    question, choices, right = _read_choices(row, where)
    return _ask(question, choices, right, question, neutral="the answer is:")


def read_piqa(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    if "goal" in row:
        question, choices = _text(row, "goal", where), [
            _text(row, "sol1", where), _text(row, "sol2", where)
        ]  # fmt: skip
        right = _place(row.get("label"), len(choices), where)
    else:
        question, choices, right = _read_choices(row, where)
    return _ask(f"Question: {question}\nAnswer:", choices, right, question)


def read_boolq(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    """A passage stands before the question, where the row has one."""
    question = _text(row, "question", where).strip().removesuffix("?")
    passage = row.get("passage") or ""
    given = next((row[k] for k in ("answer", "label") if k in row), None)
    if isinstance(given, str) and given.lower() in ("true", "false"):
        given = given.lower() == "true"
    right = _place(int(given) if isinstance(given, bool) else given, 2, where)
    before = f"{passage}\n" if passage else ""
    context = f"{before}Question: {question}?\nAnswer:"
    return _ask(context, ["no", "yes"], right, f"{passage} {question}")


def read_winogrande(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    """What follows the blank, after each way of filling it (Trinh & Le 2018, "partial")."""
    if "sentence" in row:
        sentence = _text(row, "sentence", where)
        options = [_text(row, "option1", where), _text(row, "option2", where)]
        right = _place({"1": 0, "2": 1}.get(str(row.get("answer"))), 2, where)
    else:
        sentence, options, right = _read_choices(row, where)
    before, blank, after = sentence.partition("_")
    if not blank or not after.strip():
        raise UserError(f"{where} has no blank `_` with words after it: WinoGrande's rows have.")
    ending = f" {after.strip()}"
    return ChoiceQuestion(
        tuple(before + option for option in options),
        (ending,) * len(options),
        (after.strip(),) * len(options),
        right,
        NEUTRAL,
        sentence,
    )


def read_mmlu(row: Mapping[str, Any], where: str) -> ChoiceQuestion:
    """The letters are chosen, behind the choices that they stand for."""
    if "A" in row:
        question = _text(row, "question", where)
        choices = [_text(row, letter, where) for letter in "ABCD"]
        right = _place(row.get("answer"), 4, where)
    else:
        question, choices, right = _read_choices(row, where)
    listed = "".join(f"\n{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
    letters = list(LETTERS[: len(choices)])
    return _ask(f"{question.strip()}{listed}\nAnswer:", letters, right, question)


def describe_mmlu(row: Mapping[str, Any]) -> str:
    """What stands before all questions of a subject."""
    subject = str(row.get("subject") or "").replace("_", " ").strip()
    if not subject:
        return ""
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def _ask(
    context: str, choices: list[str], right: int, text: str, neutral: str = NEUTRAL
) -> ChoiceQuestion:
    continuations = tuple(f" {choice}" for choice in choices)
    return ChoiceQuestion(
        (context,) * len(choices), continuations, tuple(choices), right, neutral, text
    )


def _read_choices(row: Mapping[str, Any], where: str) -> tuple[str, list[str], int]:
    """Question, choices and the number of the right one, in any of the three forms."""
    inner = row.get("question")
    given = row.get("choices")
    if isinstance(inner, dict):  # as AI2 has them in its own files
        question, given = inner.get("stem"), inner.get("choices")
    else:
        question = row.get("question_stem", inner)
    labels: list[Any] = []
    if isinstance(given, Mapping):
        labels, given = list(given.get("label", [])), given.get("text")
    given = list(given) if isinstance(given, list | tuple) else given
    if isinstance(given, list) and given and all(isinstance(each, Mapping) for each in given):
        labels = [each.get("label") for each in given]
        given = [each.get("text") for each in given]
    fine = isinstance(given, list) and len(given) > 1 and all(isinstance(c, str) for c in given)
    if not isinstance(question, str) or not question.strip() or not fine:
        raise UserError(
            f"{where} has {', '.join(sorted(map(str, row)))[:80]}: a question takes `question` and "
            "two `choices` or more, as text."
        )
    assert isinstance(given, list)
    key = next((row[k] for k in ("answerKey", "answer", "label") if row.get(k) is not None), None)
    if labels:
        key = str(key).strip()
        places = [str(label) for label in labels]
        if key not in places:
            raise UserError(f"{where} has the answer {key!r}, which none of {places} is.")
        return question, given, places.index(key)
    return question, given, _place(key, len(given), where)


def _place(key: Any, number: int, where: str) -> int:
    """A choice by its number from 0, or by its letter."""
    if isinstance(key, str) and len(key.strip()) == 1 and key.strip() in LETTERS:
        key = LETTERS.index(key.strip())
    if isinstance(key, str) and key.strip().isdigit():
        key = int(key)
    if not isinstance(key, int) or not 0 <= key < number:
        raise UserError(
            f"{where} says that {key!r} is right: that is none of {number} choices. Rows of a test "
            "set that is kept secret cannot be judged."
        )
    return int(key)


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    said = row.get(name)
    if not isinstance(said, str) or not said.strip():
        raise UserError(f"{where} has no text `{name}`: is it of this suite?")
    return said
