"""How several ranks end: one that is killed, one that made a mistake alone, a mistake of all, a
signal; and a run that goes on with another number of them.
"""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, Cli, Done, Models
from tests.cli.test_together import check_figures, rows_of
from tests.cli.together import Ranks, start_together, together

LONG = PRETRAIN.replace("steps=12", "steps=30") + " save_every_s=0"


def wait_for_steps(run: Path, steps: int, ranks: Ranks) -> None:
    """Until so many rows of metrics are there."""
    file, end = run / "metrics.jsonl", time.monotonic() + 60
    while not file.exists() or file.read_bytes().count(b"\n") <= steps:
        assert time.monotonic() < end, [done.stderr for done in ranks.wait(0)]
        time.sleep(0.02)


def said(ended: list[Done]) -> list[str]:
    """The sentences of all ranks together."""
    lines = [line for done in ended for line in done.stderr.splitlines()]
    assert not [line for line in lines if "Traceback" in line], lines
    return [line for line in lines if line.startswith("fledge: ")]


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_rank_ends_the_others_at_once_and_another_number_of_ranks_goes_on(
    killed: int, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = models.fill(LONG)
    ranks = start_together([*command, "out=run"], world=3, folder=tmp_path)
    wait_for_steps(tmp_path / "run", 9, ranks)
    at = time.monotonic()
    ranks.kill(killed)
    ended = ranks.wait(30)
    assert time.monotonic() - at < 20
    assert [done.code for done in ended] == [-9 if rank == killed else 1 for rank in range(3)]
    [sentence] = said(ended)
    assert f"rank {killed} has ended without a word" in sentence
    assert "fledge resume" in sentence
    assert len(rows_of(tmp_path / "run")) < 30

    if killed == 1:
        ended = together(["resume", "run"], world=2, folder=tmp_path)
    else:
        ended = [cli("resume run", folder=tmp_path)]
    assert [done.code for done in ended] == [0] * len(ended), [done.stderr for done in ended]
    assert "continuing run from step" in ended[0].stdout
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    check_figures(tmp_path / "run", tmp_path / "alone", 1e-4, 1e-5)


def test_a_signal_to_any_rank_stops_all_after_the_step_in_hand(
    models: Models, tmp_path: Path
) -> None:
    ranks = start_together([*models.fill(LONG), "out=run"], world=2, folder=tmp_path)
    wait_for_steps(tmp_path / "run", 5, ranks)
    ranks.kill(1, signal.SIGTERM)
    ended = ranks.wait(60)
    assert [done.code for done in ended] == [143, 143]
    [sentence] = said(ended)
    assert "and saved. Continue with: fledge resume run" in sentence
    step = max(row["step"] for row in rows_of(tmp_path / "run"))
    assert (tmp_path / "run" / "checkpoints" / f"{step:08d}").is_dir()


def test_ranks_with_other_fields_are_told_apart_before_anything_is_computed(
    models: Models, tmp_path: Path
) -> None:
    command = [*models.fill(PRETRAIN), "out=run"]
    words = {0: command, 1: [*command, "learning_rate=0.5"]}
    ended = start_together(words, world=2, folder=tmp_path).wait()
    assert [done.code for done in ended] == [2, 2]
    assert said(ended) == [
        "fledge: rank 1 was started with field learning_rate=0.5, and rank 0 with 0.002: all ranks "
        "need the same command, files and versions."
    ]
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_one_rank_is_told_with_its_number(models: Models, tmp_path: Path) -> None:
    command = [*models.fill(PRETRAIN), "out=run"]
    words = {0: command, 1: [*command, "data=nowhere.txt"]}
    ended = start_together(words, world=2, folder=tmp_path).wait()
    assert [done.code for done in ended] == [2, 2]
    [sentence] = said(ended)
    assert sentence.startswith("fledge: rank 1: ")
    assert "nowhere.txt" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("pretrain data=nowhere.txt", "nowhere.txt"),
        ("pretrain speed=9", "speed"),
        ("chat runs/none", "`fledge chat` is the work of one process: leave torchrun out"),
        ("control compare=ppo,dqn world=CartPole-v1", "leave torchrun out"),
    ],
)
def test_a_mistake_of_all_is_told_once(words: str, part: str, tmp_path: Path) -> None:
    ended = together(words, world=2, folder=tmp_path)
    assert [done.code for done in ended] == [2, 2], [done.stderr for done in ended]
    [sentence] = said(ended)
    assert part in sentence
    assert "rank" not in sentence.replace("ranks", "")


def test_a_port_in_use_is_told(models: Models, tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        ranks = start_together(
            [*models.fill(PRETRAIN), "out=run"], world=2, folder=tmp_path, port=port
        )
        ranks.processes[0].join(60)
        ranks.kill(1)  # which waits for an answer, and which torchrun would end
        first = ranks.wait(60)[0]
    assert f"rank 0 of 2 cannot meet the others at localhost:{port}" in first.complaint
