"""Every command takes --json, and then prints one JSON object on standard output and nothing else
there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import STAGES, Cli, Models

READS = {
    "sample": (
        "sample base={tune} prompt=hello samples=3 max_new_tokens=9",
        {"base", "prompt", "completions", "seconds"},
    ),
    "evaluate text": (
        "evaluate {tune} data={text} whole=true",
        {"base", "bits_per_byte", "nats_per_token", "perplexity", "tokens", "bytes"},
    ),
    "evaluate task": (
        "evaluate {tune} task={letters} prompts=4 max_new_tokens=8",
        {"base", "exact_match", "true_score", "prompts"},
    ),
    "tokenizer train": (
        "tokenizer train data={text} kind=bpe vocab_size=300 out=tokenizer",
        {
            "kind",
            "vocab_size",
            "merges",
            "documents",
            "bytes",
            "bytes_per_token",
            "seconds",
            "out",
            "sha256",
        },
    ),
    "tokenizer show": (
        "tokenizer show {tune} text=hello",
        {"kind", "vocab_size", "merges", "steps", "tokens"},
    ),
    "show sampling": ("show sampling {tune}", {"base", "stages", "alone", "page"}),
    "show attention": (
        "show attention {tune}",
        {"base", "tokens", "windows", "heads", "maps", "page"},
    ),
    "show coordinates": (
        "show coordinates widths=16,32 steps=1 seeds=1",
        {"widths", "steps", "learning_rate", "checks", "page"},
    ),
    "show merges": ("show merges", {"bytes", "steps", "word", "cuts", "page"}),
    "show rope": (
        "show rope {tune}",
        {
            "base",
            "head_width",
            "theta",
            "context",
            "wavelengths",
            "distances",
            "products",
            "differs_by_place",
            "page",
        },
    ),
    "runs": ("runs root={models}", {"root", "runs"}),
    "runs of a folder without any": ("runs .", {"root", "runs"}),
    "report": ("report {tune} out=page.html", {"report", "bytes"}),
    "resume what is finished": (
        "resume {reward}",
        {"verb", "run", "steps", "pairs", "rows", "seconds", "before", "after", "test", "held_out"},
    ),
}


@pytest.mark.parametrize("what", READS)
def test_a_command_that_reads_prints_one_object(
    what: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, keys = READS[what]
    done = cli([*models.fill(command), "--json"], folder=tmp_path)
    assert set(done.result) == keys


@pytest.mark.parametrize("stage", STAGES)
def test_a_command_that_trains_prints_its_summary_also_when_resumed(
    stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(STAGES[stage]), "--json"]
    whole = cli([*words, "out=whole"], folder=tmp_path)
    assert {"verb", "run", "steps", "seconds", "before", "after"} <= set(whole.result)
    assert "whole" in whole.stderr  # what a person reads stands where it does not disturb
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=15, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15
    assert stopped.stdout == ""
    resumed = cli("resume run --json", folder=tmp_path).result
    assert {**resumed, "seconds": 0, "run": ""} == {**whole.result, "seconds": 0, "run": ""}


def test_chat_through_a_pipe_prints_the_conversation(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    said = "hello\n/new\nthe cat sat\n\nnot read\n"
    done = cli(
        [*models.fill("chat base={tune} system=Be-kind. max_new_tokens=6"), "--json"],
        folder=tmp_path,
        stdin=said,
    )
    roles = [turn["role"] for turn in done.result["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert [turn["content"] for turn in done.result["messages"]][1::2] == ["hello", "the cat sat"]


def test_json_stands_anywhere_on_the_line(cli: Cli, tmp_path: Path) -> None:
    assert (
        cli("--json runs .", folder=tmp_path).result == cli("runs . --json", folder=tmp_path).result
    )


def test_what_a_word_cannot_spell_does_not_break_a_command(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """A byte that is not UTF-8 reaches Python as half of a surrogate pair, which no tokenizer
    knows.
    """
    said = cli([*models.fill("sample base={tune}"), "prompt=caf\udce9"], folder=tmp_path).complaint
    assert "UTF-8" in said


def test_a_pipe_that_is_not_utf8_does_not_end_a_chat(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(
        [*models.fill("chat base={tune} max_new_tokens=6"), "--json"],
        folder=tmp_path,
        stdin="caf\udce9\nhello\n",
    )
    assert done.result["messages"][-2]["content"] == "hello"
