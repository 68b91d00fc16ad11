"""`fledge reward demonstrations=…`: a reward out of answers that were shown, beside what the base
says itself; no pair is given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Cli, Models, outcome

REWARD = (
    "reward base={tune} demonstrations=shown.jsonl samples_per_prompt=2 max_new_tokens=6 "
    "pairs_per_step=8 evaluate_every=5 precision=fp32 compile=no"
)


def write_shown(folder: Path, count: int = 48) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"say {i}", "completion": "aba"} for i in range(count)]
    (folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_shown_scores_above_what_the_base_says(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    write_shown(tmp_path)
    words = models.fill(f"{REWARD} steps=25 learning_rate=3e-3 out=run")
    said = cli(words, folder=tmp_path)
    assert said.code == 0, said.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    held_out = summary["held_out"]
    assert summary["pairs"] + held_out["validation"] + held_out["test"] == 96
    assert summary["before"]["pair_accuracy"] == 0.5  # a fresh one prefers nothing
    assert summary["after"]["pair_accuracy"] > 0.9
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    scale = config["fledge_reward"]["std"]
    assert f"kl_coefficient={round(1 / scale, 4)}" in said.stdout
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert [Path(file["path"]).name for file in lineage["data"]] == ["shown.jsonl"]


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    write_shown(tmp_path)
    words = models.fill(f"{REWARD} steps=16")
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=15, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data=shown.jsonl", "give one of them"),
        ("margin=1", "leave it out"),
        ("ignore_keys=none", "8 or more are needed"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    write_shown(tmp_path, 4)
    assert said in cli(models.fill(f"{REWARD} {words}"), folder=tmp_path).complaint
    assert not list(tmp_path.glob("runs/*"))
