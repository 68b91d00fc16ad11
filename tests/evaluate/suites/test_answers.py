"""Answers read out of texts, beside answers that a person has marked."""

from __future__ import annotations

from typing import Any

import pytest

from fledge.evaluate.suites.answers import (
    find_boxed,
    is_same_mathematics,
    judge_bbh,
    judge_gsm8k,
    judge_math,
)
from fledge.evaluate.suites.coded import complete_program, judge_humaneval
from fledge.evaluate.suites.questions import AskedQuestion
from fledge.programs.limits import ProgramLimits
from fledge.programs.pool import ProgramPool


def ask(**row: Any) -> AskedQuestion:
    return AskedQuestion(row.get("prompt", ""), "", (), "", row)


@pytest.mark.parametrize(
    ("text", "right", "strict"),
    [
        ("2 + 2 = 4, so 72.\n#### 72", True, True),
        ("She has $72.00 left.", True, False),
        ("It is 1,072 and not 72", True, False),
        ("#### 72.\n#### 5", False, True),
        ("about 72.5", False, False),
        ("none", False, False),
        ("", False, False),
        ("-72", False, False),
    ],
)
def test_numbers_are_numbers(text: str, right: bool, strict: bool) -> None:
    [mark] = judge_gsm8k([ask(answer="so\n#### 72")], [text])
    assert (mark.right, mark.others["strict"]) == (right, strict)


def test_thousands_have_commas_in_the_key_too() -> None:
    assert judge_gsm8k([ask(answer="#### 1,200")], ["$1200."])[0].right


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("\\frac12", "1/2", True), ("\\dfrac{1}{2}", "\\frac{1}{2}", True),
        ("0.5", "\\frac{1}{2}", True), ("\\left( 3, \\frac{\\pi}{2} \\right)",
                                        "(3,\\frac{\\pi}{2})", True),
        ("10,000", "10000", True), ("x = 5", "5", True), ("5^\\circ", "5", True),
        ("\\text{Evelyn}", "Evelyn", True), (".5", "0.5", True), ("12\\text{ cm}", "12", True),
        ("\\sqrt2", "\\sqrt{2}", True), ("-\\frac{1}{3}", "-1/3", True),
        ("1/2", "1/3", False), ("(1,2)", "(2,1)", False), ("", "", False), ("5", "-5", False),
        ("12", "1,2", False), ("1e999999999", "5", False),
    ],
)  # fmt: skip
def test_mathematics_is_the_same_where_only_its_spelling_differs(
    a: str, b: str, same: bool
) -> None:
    assert is_same_mathematics(a, b) is same
    assert is_same_mathematics(b, a) is same


def test_the_last_box_is_the_answer() -> None:
    assert find_boxed("\\boxed{1} then \\boxed{\\frac{1}{2}} so") == "\\frac{1}{2}"
    assert find_boxed("\\fbox{a{b}c}") == "a{b}c"
    assert find_boxed("\\boxed{1") is None
    assert find_boxed("none") is None
    key = ask(answer=None, solution="it is \\boxed{7}")
    marks = judge_math([key] * 3, ["\\boxed{7}", "The final answer is $7$.", "7 or 8"])
    assert [(mark.right, mark.others["boxed"]) for mark in marks] == [
        (True, True), (True, False), (False, False)
    ]  # fmt: skip


def test_the_first_line_or_what_is_called_the_answer() -> None:
    texts = ["False", " false.\nbecause", "Let me see. So the answer is False.", "True", ""]
    marks = judge_bbh([ask(target="False")] * 5, texts)
    assert [mark.right for mark in marks] == [True, True, True, False, False]
    assert [mark.others["strict"] for mark in marks] == [True, False, False, False, False]


PROMPT = 'import math\n\ndef double(x):\n    """Twice x."""\n'
TEST = "\ndef check(f):\n    assert f(2) == 4\n    assert f(math.pi) == 2 * math.pi\n"


def test_programs_are_right_that_pass_their_tests() -> None:
    question = ask(prompt=PROMPT, test=TEST, entry_point="double")
    texts = [
        "    return 2 * x\n",
        "    return x + 2\n",
        "    exit(0)\n",
        "    import os\n    os._exit(0)\n",
        "Here:\n```python\ndef double(x):\n    return x + x\n```\nThat is it.",
        "```\n    return x * 2\n```",
        "    return open('/etc/passwd').read()\n",
    ]
    with ProgramPool(ProgramLimits(seconds=30.0), workers=4) as pool:
        marks = judge_humaneval([question] * len(texts), texts, pool)
    assert [m.right for m in marks] == [True, False, False, False, True, True, False]
    assert not any(mark.error for mark in marks)
    assert complete_program(question, "    return 1") == PROMPT + "    return 1"


def test_what_the_prompt_defines_before_stays_where_the_function_comes_whole() -> None:
    prompt = f"def one():\n    return 1\n\n\n{PROMPT}"
    question = ask(prompt=prompt, test=TEST, entry_point="double")
    said = "```python\ndef double(x):\n    return x * (one() + one())\n```"
    space: dict[str, Any] = {}
    exec(f"{complete_program(question, said)}\n{TEST}\ncheck(double)", space)
