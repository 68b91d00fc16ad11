"""`fledge reward demonstrations=…`: a reward out of answers that were shown, beside what the base
says itself; no pair is given.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tests.cli.commands import Cli, Models, outcome

from fledge import load
from fledge.sample.generate import generate
from fledge.text.asking import encode_prompt

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


TASK = """
def prompts():
    return [f"say {i}" for i in range(600)]


def score(prompt, completion):
    return {"a": 0.9, "b": 0.5, "c": 0.2, "d": 0.1}.get(completion, 0.0), completion == "a"
"""
SHOWN = {"a": 6, "b": 2, "c": 1, "d": 1}


def draw(folder: Path, name: str, weights: dict[str, int], count: int, seed: int) -> None:
    random = Random(seed)
    rows = [
        {"prompt": f"say {i}", "completion": random.choices([*weights], [*weights.values()])[0]}
        for i in range(count)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def measure_distance(folder: Path) -> float:
    """½ Σ |share − shown| of 400 answers: of shares that are the same 0.03 on average, and above
    0.08 with a chance below 1e-4.
    """
    model = load(folder)
    prompts = [encode_prompt(model.tokenizer, f"say {i}") for i in range(400)]
    said = generate(
        model.loaded.policy(), prompts, max_new_tokens=3, stop=model.tokenizer.ends,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    counts = Counter(model.tokenizer.decode(one.tokens) for one in said)
    whole = sum(SHOWN.values())
    named = sum(abs(counts.pop(word, 0) / 400 - n / whole) for word, n in SHOWN.items())
    return (named + counts.total() / 400) / 2


@pytest.mark.slow
def test_align_comes_back_to_what_was_shown(cli: Cli, models: Models, tmp_path: Path) -> None:
    """A base that says four letters alike, demonstrations that say them 6 : 2 : 1 : 1: with the
    kl_coefficient that is printed, align says them nearly so.
    """
    draw(tmp_path, "plain.jsonl", dict.fromkeys(SHOWN, 1), 600, 0)
    draw(tmp_path, "shown.jsonl", SHOWN, 800, 1)
    (tmp_path / "mine.py").write_text(TASK)
    same = "precision=fp32 compile=no learning_rate=0.01"
    base = models.fill("tune base={pretrain} data=plain.jsonl steps=200 rows_per_step=32")
    assert cli(f"{' '.join(base)} out=t {same}", folder=tmp_path).code == 0
    said = cli(
        "reward base=t demonstrations=shown.jsonl samples_per_prompt=2 max_new_tokens=3 steps=150 "
        f"out=r {same}", folder=tmp_path,
    )  # fmt: skip
    [strength] = re.findall(r"kl_coefficient=[\d.]+", said.stdout)
    done = cli(
        f"align base=t reward=r task=./mine.py {strength} max_new_tokens=3 steps=120 "
        f"prompts_per_step=32 samples_per_prompt=4 evaluate_every=0 out=a {same}", folder=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    before, after = (measure_distance(tmp_path / name) for name in ("t", "a"))
    assert before > 0.25
    assert after < before / 2
