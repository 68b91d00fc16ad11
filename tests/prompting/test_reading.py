"""What counts as the answer in a text, and which answers are right."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.prompting.programs.self_consistency import vote
from fledge.prompting.questions import Question, read_questions
from fledge.prompting.reading import is_right, read_answer


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("42", "42"),
        ("So 6 times 7.\nThe answer is 42.\nQuestion: more", "42"),
        ("The answer is 41. No: the final answer is **42**.", "42"),
        (r"Hence \boxed{42} as wanted", "42"),
        (r"First \boxed{1}, so \boxed{\frac{1}{2}} in all.", r"\frac{1}{2}"),
        ("It is \\boxed{7 and never ends", "It is \\boxed{7 and never ends"),
        ("First.\n\nParis.\n", "Paris"),
        ("", ""),
    ],
)
def test_the_answer_in_a_text(said: str, answer: str) -> None:
    assert read_answer(said) == answer


@pytest.mark.parametrize(
    ("answer", "wanted", "right"),
    [
        ("It is $1,234.50", "1234.5", True),
        ("12 apples and 3 pears", "3", True),
        ("12 apples and 3 pears", "12", False),
        ("-4", "−4", True),
        ("no number", "7", False),
        ("the Eiffel Tower!", "Eiffel tower", True),
        ("Eiffel", "Eiffel tower", False),
        ("room 7", "room 7", True),
        ("7", "room 7", False),
        ("anything", "", False),
    ],
)
def test_what_is_right(answer: str, wanted: str, right: bool) -> None:
    assert is_right(answer, wanted) is right


def test_a_vote_is_by_value_and_empty_answers_have_none() -> None:
    assert vote(["", "", "", "8", "7", "7.0"]) == "7"
    assert vote(["Paris", "the paris", "Rome"]) == "Paris"
    assert vote(["b", "a"]) == "b"
    assert vote(["", ""]) == ""


def test_questions_under_the_names_that_data_sets_give_them(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "3 + 4 = <<3+4=7>>7 eggs\n#### 7"},
        {"problem": "p", "solution": "so", "answer": "x"},
        {"instruction": "Add.", "input": "1, 2", "output": 3},
        {"input": "not not True", "target": "True"},
    ]
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert read_questions(path) == [
        Question("q", "7", "3 + 4 = 7 eggs"),
        Question("p", "x", "so"),
        Question("Add.\n\n1, 2", "3"),
        Question("not not True", "True"),
    ]
    (tmp_path / "bad.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(UserError, match=r"line 1 of .* has none of `answer`"):
        read_questions(tmp_path / "bad.jsonl")
