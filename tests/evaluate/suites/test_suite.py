"""Every published form of a suite's rows comes to the question that lm-evaluation-harness asks, and
what cannot be used is one sentence.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.evaluate.suites.suite import SUITES, open_suite
from fledge.text.labelled_files import MOST_CELL
from tests.evaluate.suites.files import ASKED, FORMS


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name, forms in FORMS.items() for form in range(len(forms))]
)
def test_each_form_is_asked_in_the_same_words(name: str, form: int, tmp_path: Path) -> None:
    [question] = open_suite(name, write(tmp_path / "q.jsonl", [FORMS[name][form]])).questions
    contexts, continuations, right = ASKED[name]
    assert list(question.contexts) == contexts
    assert list(question.continuations) == continuations
    assert question.right == right


def test_files_of_every_kind_have_the_same_rows(tmp_path: Path) -> None:
    row = FORMS["arc_easy"][0]
    (tmp_path / "a.json").write_text(json.dumps({"examples": [row]}))
    write(tmp_path / "a.jsonl.gz", [row])
    mmlu = io.StringIO()
    csv.writer(mmlu).writerow(["What is wet?", "fire", "water", "sand", "air", "B"])
    (tmp_path / "m.csv").write_text(mmlu.getvalue())
    for file in ("a.json", "a.jsonl.gz"):
        [question] = open_suite("arc_easy", tmp_path / file).questions
        assert question.contexts[0] == ASKED["arc_easy"][0][0]
    [question] = open_suite("mmlu", tmp_path / "m.csv").questions
    assert list(question.contexts) == ASKED["mmlu"][0]


def test_a_parquet_file_has_them_too(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # pyright: ignore[reportMissingImports]

    parquet.write_table(arrow.Table.from_pylist(FORMS["arc_easy"][:1]), tmp_path / "a.parquet")
    [question] = open_suite("arc_easy", tmp_path / "a.parquet").questions
    assert question.right == 1


def test_a_folder_has_the_file_that_is_called_so(tmp_path: Path) -> None:
    write(tmp_path / "ARC-Easy-Test.jsonl", FORMS["arc_easy"][:1])
    write(tmp_path / "ARC-Easy-Train.jsonl", FORMS["arc_easy"][:1] * 2)
    write(tmp_path / "piqa.jsonl", FORMS["piqa"][:1])
    assert open_suite("arc_easy", tmp_path).file.name == "ARC-Easy-Test.jsonl"
    with pytest.raises(UserError, match="none is called mmlu"):
        open_suite("mmlu", tmp_path)


def test_examples_come_from_the_training_rows_or_are_not_asked(tmp_path: Path) -> None:
    rows = [
        {"task": "ARC-Easy", "split": split, "question": f"Q{i}?", "choices": ["x", "y"],
         "label": i % 2}
        for i, split in enumerate(["test", "train", "test", "train"])
    ]  # fmt: skip
    asked = open_suite("arc_easy", write(tmp_path / "q.jsonl", rows), shots=2)
    assert [q.text for q in asked.questions] == ["Q0?", "Q2?"]
    shown = "Question: Q1?\nAnswer: y\n\nQuestion: Q3?\nAnswer: y\n\n"
    assert asked.before == [shown] * 2
    bare = [{k: v for k, v in row.items() if k != "split"} for row in rows]
    asked = open_suite("arc_easy", write(tmp_path / "q.jsonl", bare), shots=1)
    assert [q.text for q in asked.questions] == ["Q1?", "Q2?", "Q3?"]


def test_a_subject_is_described(tmp_path: Path) -> None:
    row = FORMS["mmlu"][0] | {"subject": "high_school_physics"}
    asked = open_suite("mmlu", write(tmp_path / "q.jsonl", [row]))
    assert asked.before == [
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
    ]
    assert asked.subjects == ["high_school_physics"]


def test_questions_in_words_are_asked_as_the_harness_asks_them(tmp_path: Path) -> None:
    rows = {
        "gsm8k": ({"question": "1 + 1?", "answer": "It is 2.\n#### 2"},
                  "Question: 1 + 1?\nAnswer:"),
        "math": ({"problem": "1 + 1?", "solution": "\\boxed{2}", "answer": 2},
                 "Problem:\n1 + 1?\n\nSolution:"),
        "bbh": ({"input": "not True is", "target": "False"}, "Q: not True is\nA:"),
        "humaneval": ({"prompt": "def f():\n", "test": "t", "entry_point": "f"}, "def f():\n"),
        "ifeval": ({"prompt": "Say.", "instruction_id_list": ["punctuation:no_comma"],
                    "kwargs": [{}]}, "Say."),
    }  # fmt: skip
    for name, (row, prompt) in rows.items():
        [question] = open_suite(name, write(tmp_path / "q.jsonl", [row])).questions
        assert question.prompt == prompt
    assert rows.keys() | FORMS.keys() | {"arc_challenge", "prompts"} == SUITES.keys()


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("arc_easy", {"question": "Q?", "choices": ["x", "y"], "label": 2}, "none of 2 choices"),
        ("arc_easy", {"question": "Q?"}, "takes `question` and two `choices`"),
        ("arc_easy", FORMS["arc_easy"][0] | {"answerKey": "D"}, "which none of"),
        ("winogrande", {"sentence": "No blank.", "option1": "a", "option2": "b", "answer": "1"},
         "has no blank `_`"),
        ("winogrande", FORMS["winogrande"][0] | {"answer": ""}, "kept secret"),
        ("gsm8k", {"question": "Q?"}, "no text `answer`"),
        ("ifeval", {"prompt": "Say.", "instruction_id_list": ["a"], "kwargs": []}, "as many"),
        ("ifeval", {"prompt": "Say.", "instruction_id_list": ["a"], "kwargs": ["b"]}, "as many"),
        ("ifeval", {"prompt": "Say.", "instruction_id_list": [["a"]], "kwargs": [{}]}, "as many"),
        ("ifeval", {"prompt": "Say.", "instruction_id_list": ["startend:end_checker"],
                    "kwargs": [{"end_phrase": None}]},
         "line 1 of .*q.jsonl has no `end_phrase` among the `kwargs` of startend:end_checker"),
        ("piqa", {"task": "boolq", "question": "Q"}, "none is of piqa"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_one_sentence(
    name: str, row: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said) as told:
        open_suite(name, write(tmp_path / "q.jsonl", [row]))
    assert "\n" not in str(told.value)


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("x")
    (tmp_path / "q.json").write_text("[1]")
    (tmp_path / "q.csv").write_text("a,b\n")
    (tmp_path / "long.csv").write_text(f"{'a' * (MOST_CELL + 1)},b\n")
    said = {
        "q.txt": "no file of questions",
        "q.json": "one object a question",
        "q.csv": "2 cells and not 6",
        "long.csv": "is no CSV",
        "none.jsonl": "does not exist",
    }
    for file, sentence in said.items():
        with pytest.raises(UserError, match=sentence):
            open_suite("arc_easy", tmp_path / file)
