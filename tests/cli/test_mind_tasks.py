"""Stories about minds through the verbs: learned from and aligned on some kinds, evaluated on
another, beside the exact answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models, outcome

QUICK = "evaluate_every=2 evaluation_prompts=4 max_new_tokens=6 precision=fp32 compile=no"
SIZES = "layers=1 width=16 heads=2 tokens_per_step=1024 steps=2 evaluation_rows=4"
ALIGN = (
    "align base=base task=false_beliefs:moved+told algorithm=grpo steps=3 prompts_per_step=2 "
    f"samples_per_prompt=2 {QUICK}"
)


@pytest.fixture(scope="module")
def base(models: Models, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minds")
    text = f"pretrain data={{text}} tokenizer=bytes context=1024 {SIZES} precision=fp32 compile=no"
    assert cli([*models.fill(text), "out=base"], folder=folder).code == 0
    return folder


def test_two_kinds_are_aligned_on_and_a_third_is_asked(base: Path, cli: Cli) -> None:
    assert cli(f"{ALIGN} out=whole", folder=base).code == 0
    stopped = cli(f"{ALIGN} out=run", folder=base, signal=15, once=base / "run" / "metrics.jsonl")
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=base).code == 0
    assert outcome(base / "run") == outcome(base / "whole")
    told = cli("evaluate base=run task=false_beliefs:second_order,irony:odds prompts=12 "
               "max_new_tokens=4 --json", folder=base)  # fmt: skip
    assert told.code == 0, told.stderr
    kinds = json.loads(told.stdout)["by_kind"]
    assert set(kinds) == {"false_beliefs:second_order", "irony:odds"}
    second, odds = kinds["false_beliefs:second_order"], kinds["irony:odds"]
    assert (second["questions"], second["controls"], second["scenes"]) == (2, 4, 2)
    assert (odds["questions"], odds["controls"]) == (3, 3)
    assert second["exact_nats"] == 0 < second["nats"]
    assert 0 < odds["exact_nats"] <= odds["nats"]
    assert second["low"] <= second["right"] / 2 <= second["high"]


def test_a_model_is_told_where_it_stands_kind_by_kind(base: Path, cli: Cli) -> None:
    told = cli("evaluate base=base task=goals:street prompts=4 max_new_tokens=4", folder=base)
    assert told.code == 0, told.stderr
    assert "  goals:street: " in told.stdout
    assert "of 2; " in told.stdout
    assert "by chance 25%" in told.stdout
    refused = cli("evaluate base=base task=goals:streets", folder=base)
    assert "perhaps you meant goals:street" in refused.complaint
