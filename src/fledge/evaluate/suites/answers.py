"""The answer in a text, and whether it is right: the last number, what stands in \\boxed{…}, the
first line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from fledge.evaluate.suites.questions import AskedQuestion, Marked
from fledge.prompting.reading import find_boxed

_MARKED = re.compile(r"####\s*(-?[$]?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$]?\d[\d,]*(?:\.\d+)?|-?[$]?\.\d+")
_SAID = re.compile(r"(?:the|final) answer is:?\s*(.+)", re.IGNORECASE)


def read_number(text: str) -> Fraction | None:
    """Of digits with commas, a dollar sign and a point at the end: exactly."""
    bare = text.strip().replace(",", "").replace("$", "").rstrip(".").removesuffix("%")
    if "e" in bare.lower():  # 1e999999999 would be written out
        return None
    try:
        return Fraction(bare)
    except (ValueError, ZeroDivisionError):
        return None


def find_last_number(text: str) -> str:
    """ "" where there is none."""
    numbers = _NUMBER.findall(text)
    return numbers[-1] if numbers else ""


def judge_gsm8k(asked: Sequence[AskedQuestion], answers: Sequence[str]) -> list[Marked]:
    """By the last number of the answer; `strict`: by the one that stands behind ####."""
    marked: list[Marked] = []
    for question, text in zip(asked, answers, strict=True):
        wanted = read_number(question.row["answer"].rpartition("####")[2])
        said, behind = find_last_number(text), _MARKED.search(text)
        strict = "" if behind is None else behind[1]
        marked.append(
            Marked(
                wanted is not None and read_number(said) == wanted,
                said,
                {"strict": wanted is not None and read_number(strict) == wanted},
            )
        )
    return marked


def judge_math(asked: Sequence[AskedQuestion], answers: Sequence[str]) -> list[Marked]:
    """By what the last \\boxed{…} has, or what stands behind "the answer is"."""
    marked: list[Marked] = []
    for question, text in zip(asked, answers, strict=True):
        wanted = question.row["answer"] or find_boxed(question.row["solution"]) or ""
        said = find_boxed(text)
        boxed = said is not None
        if said is None:
            told = _SAID.search(text)
            said = "" if told is None else told[1].strip().rstrip(".").strip("$")
        right = is_same_mathematics(said, wanted)
        marked.append(Marked(right, said, {"boxed": right and boxed}))
    return marked


def judge_bbh(asked: Sequence[AskedQuestion], answers: Sequence[str]) -> list[Marked]:
    """By what stands behind "the answer is", or the first line; `strict`: by the whole text."""
    marked: list[Marked] = []
    for question, text in zip(asked, answers, strict=True):
        wanted = _plain(question.row["target"])
        lines = [line for line in text.strip().splitlines() if line.strip()]
        told = _SAID.search(text)
        said = told[1] if told is not None else lines[0] if lines else ""
        marked.append(
            Marked(_plain(said) == wanted, said.strip(), {"strict": _plain(text) == wanted})
        )
    return marked


def _plain(text: str) -> str:
    return " ".join(text.strip().strip('"').rstrip(".").lower().split())


def is_same_mathematics(first: str, second: str) -> bool:
    """Alike once what does not count is taken away, or as numbers. It knows no algebra: x + 1 and
    1 + x are two answers.
    """
    a, b = normalise_mathematics(first), normalise_mathematics(second)
    if not a or not b:
        return False
    values = [_read_fraction(each) for each in (a, b)]
    return a == b or (values[0] is not None and values[0] == values[1])


def _read_fraction(text: str) -> Fraction | None:
    parts = re.fullmatch(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}", text)
    if parts is None:  # what commas are left part two numbers
        return None if "," in text else read_number(text)
    if not int(parts[3]):
        return None
    value = Fraction(int(parts[2]), int(parts[3]))
    return -value if parts[1] else value


def normalise_mathematics(text: str) -> str:
    """As Hendrycks et al. 2021 compare answers (their `_strip_string`): without spaces, units,
    degrees, \\left and \\right; \\dfrac and \\tfrac as \\frac; 1/2 and \\frac12 as \\frac{1}{2}.
    """
    text = text.strip().rstrip(".").replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    for spelled in ("dfrac", "tfrac"):
        text = text.replace(spelled, "frac")
    for gone in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$", "$", "\\%", "%", "\\,", "\\;"):
        text = text.replace(gone, "")
    text = re.sub(r"\\(?:text|mbox|mathrm)\{ [^{}]*\}$", "", text)  # a unit at the end
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf)\{([^{}]*)\}", r"\1", text)
    left, equals, right = text.partition("=")
    if equals and len(left.strip()) <= 2:  # x = 5
        text = right
    text = text.replace(" ", "")
    text = re.sub(r"(?<![\d.])\.(\d)", r"0.\1", text)
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac(\d)\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\{[^{}]*\})(\d)", r"\1{\2}", text)
    if re.fullmatch(r"-?\d+/\d+", text):
        sign, bare = ("-", text[1:]) if text.startswith("-") else ("", text)
        above, _, below = bare.partition("/")
        text = f"{sign}\\frac{{{above}}}{{{below}}}"
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
