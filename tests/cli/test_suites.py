"""`fledge evaluate suite=…` as a user runs it: figures, details, page, another model, mistakes."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models
from tests.evaluate.suites.files import FORMS

TEXT = "the cat sat on a mat while seven birds sang over green hills and old rivers"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Path:
    place = tmp_path_factory.mktemp("suites")
    rows = [
        {"question": f"{a} {b}?", "choices": [a, b, "mat"], "label": i % 3}
        for i, (a, b) in enumerate(pairwise(WORDS))
    ]
    line = (models.folder / "text.txt").read_text().splitlines()[3]
    rows.append({"question": line, "choices": ["cat", "mat"], "label": 0})  # it was trained on
    (place / "arc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mmlu = [FORMS["mmlu"][0] | {"subject": s, "question": f"{s} {i}?"} for i in range(3)
            for s in ("birds", "hills")]  # fmt: skip
    (place / "mmlu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mmlu))
    code = {"prompt": "def f():\n", "test": "def check(f):\n    assert f() == 1\n",
            "entry_point": "f", "canonical_solution": "    return 1\n"}  # fmt: skip
    (place / "humaneval.jsonl").write_text((json.dumps(code) + "\n") * 2)
    (place / "gsm8k.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}))
    (place / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"say {word}"}) + "\n" for word in WORDS[:4])
    )
    return place


def test_choices_beside_another_model_with_details_and_a_page(
    cli: Cli, models: Models, folder: Path, tmp_path: Path
) -> None:
    command = (
        f"evaluate suite=arc_easy base={{pretrain}} against={{tune}} data={folder}/arc.jsonl "
        f"details={tmp_path}/d.jsonl out={tmp_path}/page.html --json"
    )
    done = cli(models.fill(command), folder=tmp_path)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert told["questions"] == len(rows) == len(WORDS)
    right = [row["answer"] == row["right"] for row in rows]
    assert told["accuracy"] == told["by_rule"]["raw"] == pytest.approx(sum(right) / len(right))
    assert all(max(row["nats"]) == row["nats"][row["answer"]] for row in rows)
    assert told["low"] < told["accuracy"] < told["high"]
    gap = told["accuracy"] - told["against"]["accuracy"]
    assert told["against"]["difference"] == pytest.approx(gap)
    assert told["calibration"]["confidence"] > 1 / 3
    # the last question was planted in the text that the run's lineage names
    assert rows[-1]["read_before"] == 1.0
    assert told["read_before"]["half"] == 1
    assert told["read_before"]["lost"] == []
    page = (tmp_path / "page.html").read_text()
    assert "Calibration" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_lines_for_a_person_and_figures_by_subject(
    cli: Cli, models: Models, folder: Path, tmp_path: Path
) -> None:
    command = f"evaluate suite=mmlu base={{pretrain}} data={folder}/mmlu.jsonl shots=1 questions=4"
    done = cli(models.fill(command), folder=tmp_path)
    assert done.code == 0, done.stderr
    for said in ("mmlu: ", "at 95 %", "birds: ", "hills: ", "calibration: ", "to see 2 points"):
        assert said in done.stdout + done.stderr


def test_answers_in_words_and_programs(
    cli: Cli, models: Models, folder: Path, tmp_path: Path
) -> None:
    """A model that has learned nothing is right nowhere, and says so in figures."""
    for name, more in (("humaneval", "samples=12 temperature=1"), ("gsm8k", "chat=true")):
        command = (
            f"evaluate suite={name} base={{tune}} data={folder}/{name}.jsonl max_new_tokens=8 "
            f"{more} details={tmp_path}/d.jsonl --json"
        )
        done = cli(models.fill(command), folder=tmp_path)
        assert done.code == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["accuracy"] == 0.0
        rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
        assert len(rows[0]["said"]) == (12 if name == "humaneval" else 1)
        if name == "humaneval":
            assert told["by_rule"] == {"accuracy": 0.0, "pass_at_10": 0.0}
            assert set(rows[0]["read"]) <= {"raised", "exited"}


@pytest.mark.parametrize("judge", ["reward", "tune"])
def test_answers_of_two_models_judged_in_pairs(
    judge: str, cli: Cli, models: Models, folder: Path, tmp_path: Path
) -> None:
    command = (
        f"evaluate suite=prompts base={{tune}} against={{pretrain}} judge={{{judge}}} "
        f"data={folder}/prompts.jsonl max_new_tokens=4 --json"
    )
    done = cli(models.fill(command), folder=tmp_path)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wins"] + told["ties"] + told["losses"] == 4
    assert told["low"] <= told["win_rate"] <= told["high"]
    if judge == "reward":
        assert (told["first_preferred"], told["swayed_by_order"]) == (0.5, 0.0)
    # against itself nobody wins
    itself = cli(models.fill(command.replace("{pretrain}", "{tune}")), folder=tmp_path)
    assert json.loads(itself.stdout)["win_rate"] == 0.5


def test_text_in_windows_that_overlap_document_by_document(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    texts = ["the cat sat on a mat. " * 9, "seven birds sang. " * 9, "old rivers. " * 20]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "texts.jsonl").write_text(rows)
    command = "evaluate base={pretrain} data=texts.jsonl whole=true --json"
    plain = json.loads(cli(models.fill(command), folder=tmp_path).stdout)
    done = cli([*models.fill(command), "stride=8", "by_document=true"], folder=tmp_path)
    told = json.loads(done.stdout)
    assert [one["bytes"] for one in told["documents"]] == [len(text) for text in texts]
    nats = sum(one["nats"] for one in told["documents"])
    assert told["nats_per_token"] == pytest.approx(nats / told["tokens"])
    assert (told["bytes"], told["tokens"]) == (plain["bytes"], plain["tokens"])
    assert told["low"] <= told["bits_per_byte"] <= told["high"]
    assert told["perplexity"] == pytest.approx(math.exp(told["nats_per_token"]))
    wrong = cli([*models.fill(command), "stride=100"], folder=tmp_path)
    assert wrong.code == 2
    assert "stride=100 would pass over tokens" in wrong.stderr


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("suite=arc_easy samples=4", "samples is of answers in words"),
        ("suite=gsm8k samples=4", "greedy answers are all the same"),
        ("suite=arc_easy judge={tune}", "judge is of suite=prompts"),
        ("suite=prompts", "give against=MODEL and judge=MODEL"),
        ("suite=arc_easy out=none/page.html", "there is no folder none"),
        ("suite=arc_easy out=.", "out=. is a folder, and one file is written"),
        ("suite=arc_easy details=.", "name it, such as details=questions.jsonl"),
        ("suite=arc_easy seen=none.txt", "seen=none.txt is no file"),
        ("suite=arc_easy shots=50", "leaves none to ask"),
        ("suite=arc", "suite"),
        ("suite=gsm8k max_new_tokens=4096", "lower it, so that a question has room too"),
    ],
)
def test_a_mistake_is_one_sentence(
    fields: str, said: str, cli: Cli, models: Models, folder: Path, tmp_path: Path
) -> None:
    name = "gsm8k" if "gsm8k" in fields else "prompts" if "suite=prompts" in fields else "arc"
    command = f"evaluate base={{tune}} data={folder}/{name}.jsonl {fields}"
    done = cli(models.fill(command), folder=tmp_path)
    assert done.code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
