"""Worlds of text through the verbs: learned from, aligned in, evaluated, stopped in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models, outcome

QUICK = "evaluate_every=2 evaluation_prompts=4 max_new_tokens=6 precision=fp32 compile=no"
ALIGN = (
    "align base=base task=shop:1,shell:1 curriculum=true algorithm=grpo steps=4 prompts_per_step=4 "
    f"samples_per_prompt=2 {QUICK}"
)
SIZES = "layers=1 width=16 heads=2 tokens_per_step=1024 steps=2 evaluation_rows=4"


@pytest.fixture(scope="module")
def base(models: Models, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of bytes that can hold a conversation and knows none."""
    folder = tmp_path_factory.mktemp("worlds")
    text = f"pretrain data={{text}} tokenizer=bytes context=1024 {SIZES} precision=fp32 compile=no"
    assert cli([*models.fill(text), "out=base"], folder=folder).code == 0
    return folder


def test_tune_align_and_evaluate_go_through_conversations(base: Path, cli: Cli) -> None:
    tuned = cli(
        f"tune base=base task=shop:1 steps=2 rows_per_step=2 {QUICK} out=tuned", folder=base
    )
    assert tuned.code == 0, tuned.stderr
    assert cli(f"{ALIGN} out=aligned", folder=base).code == 0
    rows = [json.loads(line) for line in (base / "aligned" / "metrics.jsonl").open()]
    shares = [row for row in rows if "share_of_shop:1" in row]
    assert len(shares) == 4
    for row in shares:
        assert row["share_of_shop:1"] + row["share_of_shell:1"] == pytest.approx(1)
    samples = [json.loads(line) for line in (base / "aligned" / "samples.jsonl").open()]
    assert {sample["completion"][:2] for sample in samples} == {"> "}
    measured = cli("evaluate base=aligned task=shell:2 prompts=3 --json", folder=base)
    assert measured.code == 0, measured.stderr
    assert json.loads(measured.stdout)["prompts"] == 3
    page = cli("report aligned", folder=base)
    assert page.code == 0, page.stderr


def test_a_run_that_is_stopped_in_a_conversation_ends_with_the_same_bits(
    base: Path, cli: Cli
) -> None:
    assert cli(f"{ALIGN} out=whole", folder=base).code == 0
    stopped = cli(f"{ALIGN} out=run", folder=base, signal=15, once=base / "run" / "metrics.jsonl")
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=base).code == 0
    assert outcome(base / "run") == outcome(base / "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("task=household:9", "names no level of household: it has 1 to 5"),
        ("task=household:5", "tokens and the model's context is 1,024: take a lower level"),
        ("task=shop:1 algorithm=search", "algorithm=search asks each prompt for one text"),
        ("task=shop:1 algorithm=star", "a hint asks each prompt for one text"),
        ("task=shop:1 curriculum=true", "shop:1 is one alone: name several, such as household:1-3"),
    ],
)
def test_mistakes_are_one_sentence(words: str, said: str, base: Path, cli: Cli) -> None:
    refused = cli(f"align base=base {words} out=refused", folder=base)
    assert refused.code == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (base / "refused").exists()
