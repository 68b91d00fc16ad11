"""Completions bound to a form, in `sample` and in `align`, by files and fields as a user gives
them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from tests.cli.commands import ALIGN, Cli, Models

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["n"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False, "whitespace_pattern": None},
}
GRAMMAR = 'start: pair+\npair: "(" pair? ")"\n'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "pairs.lark").write_text(GRAMMAR)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.lark").write_text("start: nothing")
    (tmp_path / "odd.lark").write_bytes(b"start: \xff")
    return tmp_path


def test_a_schema_and_a_grammar_hold_of_every_completion(
    cli: Cli, models: Models, files: Path
) -> None:
    words = models.fill("sample base={tune} max_new_tokens=40 samples=10 temperature=2 --json")
    said = cli([*words, "json_schema=schema.json", "lookup=true"], folder=files).result[
        "completions"
    ]
    for one in said:
        assert one["ended"] == "stop"
        jsonschema.validate(json.loads(one["completion"]), SCHEMA)
    said = cli([*words, "grammar=pairs.lark"], folder=files).result["completions"]
    whole = [one["completion"] for one in said if one["ended"] == "stop"]
    assert whole
    for text in whole:
        while "()" in text:
            text = text.replace("()", "")
        assert text == ""


WRONG = {
    "json_schema=none.json": ["none.json is not there"],
    "json_schema=broken.json": ["broken.json is no JSON"],
    "json_schema=.": ["give a text file"],
    "grammar=broken.lark": ["the grammar cannot be followed", "nothing"],
    "grammar=odd.lark": ["no text in UTF-8"],
    "grammar=pairs.lark regex=a": ["regex and grammar were given", "choose one"],
}


@pytest.mark.parametrize("given", WRONG)
def test_a_file_that_cannot_bind_is_one_sentence(
    given: str, cli: Cli, models: Models, files: Path
) -> None:
    words = models.fill("sample base={tune} max_new_tokens=12")
    complaint = cli([*words, *given.split(" ")], folder=files).complaint
    assert complaint.count("\n") <= 1
    assert all(part in complaint for part in WRONG[given]), complaint


@pytest.mark.parametrize("algorithm", ["reinforce", "grpo top_p=0.9", "ppo"])
def test_what_is_sampled_and_judged_in_training_is_bound_and_the_trainer_agrees(
    algorithm: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(f"{ALIGN} algorithm={algorithm} out=run --json")
    cli([*words, "regex=[a-f]{1,5}"], folder=tmp_path)
    said = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").open()]
    answers = [row["completion"] for row in said]
    assert answers
    assert all(re.fullmatch("[a-f]{0,5}", answer) for answer in answers), answers
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    drift = [value for row in rows for name, value in row.items() if "drift" in name]
    assert drift
    assert max(map(abs, drift)) < 1e-3


def test_a_run_remembers_the_schema_by_its_content(cli: Cli, models: Models, files: Path) -> None:
    words = models.fill(f"{ALIGN} algorithm=reinforce out=run steps=2 json_schema=schema.json")
    cli(words, folder=files)
    lineage = json.loads((files / "run" / "lineage.json").read_text())
    assert any("schema.json" in str(entry) for entry in lineage["data"])
