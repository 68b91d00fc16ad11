"""`fledge continual`: tasks in turn, with remedies; killed, it repeats nothing that is learned."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli

from fledge.evaluate.intervals import student_interval
from fledge.recipes.studies.continual import list_files

DIGITS = (
    "continual digits tasks=2 seeds=1 steps=20 width=32 learning_rate=0.01 ewc_examples=64 "
    "methods=plain,ewc"
)


def test_a_killed_study_goes_on_to_the_same_figures(cli: Cli, tmp_path: Path) -> None:
    whole = cli(f"{DIGITS} out=whole --json", folder=tmp_path).result
    assert whole["methods"]["plain"]["after"] != whole["methods"]["ewc"]["after"]
    first = tmp_path / "part/learned/plain-0.json"
    cli(f"{DIGITS} out=part", folder=tmp_path, signal=signal.SIGKILL, once=first)
    written = first.stat().st_mtime_ns
    again = cli("resume part --json", folder=tmp_path).result
    assert first.stat().st_mtime_ns == written
    assert again["methods"] == whole["methods"]
    learned = json.loads(first.read_text())["after"]
    assert learned[0][1] is None  # nothing is judged before it is learned
    assert learned[1][1] > 0.2  # of ten digits one in ten is right by chance
    page = (tmp_path / "whole/report.html").read_text()
    assert "Task by task" in page
    assert "permutation 2" in page


def test_texts_in_turn(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 100)
    (tmp_path / "b.txt").write_text("0123 4567 89 + 11 = 22; " * 100)
    words = "continual a.txt,b.txt seeds=1 steps=30 rows_per_step=8 width=32 layers=1 context=32 "
    words += "methods=plain,rehearsal,lora learning_rate=0.01 lora_rank=4 out=turn"
    told = cli(f"{words} --json", folder=tmp_path).result
    assert told["figure"] == "bits per byte"
    plain, rehearsal = (told["methods"][name] for name in ("plain", "rehearsal"))
    assert plain["forgotten"] > 0.5 > rehearsal["forgotten"]
    assert plain["newest"] < 2
    lora = told["methods"]["lora"]
    assert lora["forgotten"] == 0  # each text has matrices of its own
    assert lora["after"][0] < 1  # and is asked with them


def test_what_is_built_in_is_no_file() -> None:
    """A study of texts among which is Python's own prose looked for a file of that name."""
    assert list_files("digits") == []
    assert list_files("a.txt,python,./python") == ["a.txt", "./python"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "continual digits methods=ewc,magic",
            "methods=ewc,magic names 'magic': give some of plain",
        ),
        ("continual a.txt", "data=a.txt is one text: give two or more"),
        ("continual a.txt,a.txt", "a.txt has 0 rows of 64 bytes, and 40 are wanted"),
    ],
)
def test_what_cannot_be_learned_in_turn(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    assert said in cli(words, folder=tmp_path).complaint
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt"}


@pytest.mark.slow
def test_ewc_keeps_ten_points_more_of_permuted_digits(cli: Cli, tmp_path: Path) -> None:
    """Seed by seed, by a 95 % interval."""
    assert cli("continual digits seeds=5 out=all", folder=tmp_path).code == 0

    def read(method: str, seed: int) -> float:
        learned = json.loads((tmp_path / f"all/learned/{method}-{seed}.json").read_text())
        return float(np.mean(learned["after"][-1]))

    low, _ = student_interval([read("ewc", seed) - read("plain", seed) for seed in range(5)])
    assert low > 0.1
