"""The answer in what a model has said, and whether it is the right one."""

from __future__ import annotations

import re
import string
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-−]?\$?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+")
_ANSWER = re.compile(r"(?:the )?(?:final )?answer(?: is|:)\s*", re.IGNORECASE)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def read_answer(said: str) -> str:
    """What stands after the last "the answer is" (Wei et al. 2022), in the last \\boxed{}, or in
    the last line that is not empty.
    """
    if (boxed := find_boxed(said)) is not None:
        return boxed.strip()
    parts = _ANSWER.split(said)
    lines = [line.strip() for line in (parts[-1] if len(parts) > 1 else said).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return ""
    answer = lines[0] if len(parts) > 1 else lines[-1]
    return answer.rstrip(".").strip("* ").rstrip(".").strip()


def find_boxed(text: str) -> str | None:
    """What the last \\boxed{…} or \\fbox{…} holds, whose braces may hold others."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    rest = text[start:].partition("boxed" if text[start:].startswith("\\boxed") else "fbox")[2]
    if rest.startswith(" "):
        return rest.split("$")[0].strip()
    depth = 0
    for place, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[1:place] if place else None
    return None


def read_number(text: str) -> Decimal | None:
    """The last number in a text; None where there is none."""
    numbers = _NUMBER.findall(text)
    if not numbers:
        return None
    plain = numbers[-1].replace(",", "").replace("$", "").replace("−", "-")
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def is_right(answer: str, wanted: str) -> bool:
    """By value where the wanted answer is a number, which may stand in a sentence; else by words:
    letter case, punctuation, articles and white space aside (SQuAD, Rajpurkar et al. 2016, §6).
    """
    number = read_number(wanted)
    if number is not None and _NUMBER.fullmatch(wanted.strip().rstrip("%")):
        return read_number(answer) == number
    return bool(wanted.strip()) and plain_words(answer) == plain_words(wanted)


def plain_words(text: str) -> str:
    kept = "".join(letter for letter in text.casefold() if letter not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())
