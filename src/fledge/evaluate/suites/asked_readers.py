"""Rows of GSM8K, MATH, BIG-Bench Hard, HumanEval and IFEval as questions that are answered in
words, in the words of lm-evaluation-harness 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.evaluate.suites.instruction_settings import check_settings
from fledge.evaluate.suites.questions import AskedQuestion

TURNS = ("</s>", "<|im_end|>")  # how a model ends a turn that has no token for it


def read_gsm8k(row: Mapping[str, Any], where: str) -> AskedQuestion:
    question, answer = _texts(row, where, "question", "answer")
    stop = ("Question:", *TURNS)
    return AskedQuestion(
        f"Question: {question}\nAnswer:", f" {answer}", stop, question, {"answer": answer}
    )


def read_math(row: Mapping[str, Any], where: str) -> AskedQuestion:
    problem, solution = _texts(row, where, "problem", "solution")
    answer = row.get("answer")
    kept = {"answer": None if answer is None else str(answer), "solution": solution}
    return AskedQuestion(
        f"Problem:\n{problem}\n\nSolution:", f" {solution}", ("Problem:", *TURNS), problem, kept
    )


def read_bbh(row: Mapping[str, Any], where: str) -> AskedQuestion:
    given, target = _texts(row, where, "input", "target")
    return AskedQuestion(f"Q: {given}\nA:", f" {target}", ("Q:", *TURNS), given, {"target": target})


def read_humaneval(row: Mapping[str, Any], where: str) -> AskedQuestion:
    prompt, test, entry = _texts(row, where, "prompt", "test", "entry_point")
    stop = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    kept = {"prompt": prompt, "test": test, "entry_point": entry}
    solved = str(row.get("canonical_solution", ""))
    # as a user's turn it is answered in prose and blocks, where these ends stand anywhere
    return AskedQuestion(prompt, solved, stop, prompt, kept, stop_in_turn=False)


def read_ifeval(row: Mapping[str, Any], where: str) -> AskedQuestion:
    (prompt,) = _texts(row, where, "prompt")
    rules, given = row.get("instruction_id_list"), row.get("kwargs")
    fine = isinstance(rules, list) and isinstance(given, list) and len(rules) == len(given)
    fine = fine and all(isinstance(rule, str) for rule in rules or ())
    if not fine or not all(each is None or isinstance(each, dict) for each in given or ()):
        raise UserError(
            f"{where} has no `instruction_id_list` with as many `kwargs`: IFEval's rows have."
        )
    assert isinstance(given, list)
    settings = [{k: v for k, v in (each or {}).items() if v is not None} for each in given]
    for rule, own in zip(rules or (), settings, strict=True):
        check_settings(rule, own, where)
    return AskedQuestion(
        prompt, "", (), prompt, {"prompt": prompt, "rules": rules, "settings": settings}
    )


def read_prompt(row: Mapping[str, Any], where: str) -> AskedQuestion:
    """Of a file without right answers: what two models are both asked."""
    names = ("prompt", "question", "instruction", "problem", "input")
    said = next((row[n] for n in names if isinstance(row.get(n), str) and row[n]), None)
    if said is None:
        raise UserError(f"{where} has no text `prompt`: give one a row.")
    return AskedQuestion(said, "", TURNS, said, {})


def _texts(row: Mapping[str, Any], where: str, *names: str) -> list[str]:
    missing = [name for name in names if not isinstance(row.get(name), str) or not row[name]]
    if missing:
        raise UserError(f"{where} has no text `{missing[0]}`: is it of this suite?")
    return [row[name] for name in names]
