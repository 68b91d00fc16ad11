"""Worlds of text through the verbs: learned from, aligned in, evaluated, stopped in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models, outcome
from tests.docs.test_python import python_blocks

ROOT = Path(__file__).resolve().parents[2]

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


def test_a_world_of_ones_own_is_tuned_on_aligned_in_stopped_and_evaluated(
    base: Path, cli: Cli
) -> None:
    """Its replies fail now and then: each costs its conversation, and the run ends with the same
    bits wherever it was stopped.
    """
    blocks = python_blocks((ROOT / "docs/text-worlds.md").read_text(encoding="utf-8"))
    [source] = [block for block in blocks if block.startswith("# guess.py")]
    (base / "guess.py").write_text(source)
    tuned = cli(
        f"tune base=base task=./guess.py steps=2 rows_per_step=2 {QUICK} out=knows", folder=base
    )
    assert tuned.code == 0, tuned.stderr
    fails = 'if "q" in guess:\n        raise OSError("away")\n    if guess == str(secret):'
    (base / "fails.py").write_text(source.replace("if guess == str(secret):", fails, 1))
    command = ALIGN.replace("task=shop:1,shell:1 curriculum=true", "task=./fails.py")
    assert command != ALIGN
    whole = cli(f"{command} out=own", folder=base)
    assert whole.code == 0, whole.stderr
    stopped = cli(
        f"{command} out=stopped", folder=base, signal=15, once=base / "stopped" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume stopped", folder=base).code == 0
    assert outcome(base / "stopped") == outcome(base / "own")
    rows = [json.loads(line) for line in (base / "own" / "metrics.jsonl").open()]
    assert all(0 <= row["judge_failed"] <= 1 for row in rows if "judge_failed" in row)
    assert sum("judge_failed" in row for row in rows) == 4
    measured = cli(
        "evaluate base=own task=./guess.py prompts=5 max_new_tokens=3 --json", folder=base
    )
    assert measured.code == 0, measured.stderr
    assert json.loads(measured.stdout)["prompts"] == 5
