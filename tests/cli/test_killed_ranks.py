"""Ranks are killed at moments of chance: at one number of ranks what goes on has the same bits, at
any number the same rows and the same losses, in whatever layout.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from tests.cli.commands import PRETRAIN, Cli, Models
from tests.cli.test_together import rows_of
from tests.cli.together import start_together

STEPS = 50
PATIENCE_S = 600.0  # for a run of several processes on a machine that does other things, too
COMMAND = (
    PRETRAIN.replace("steps=12", f"steps={STEPS}").replace("evaluate_every=5", "evaluate_every=0")
    + " save_every_s=0 learning_rate=0.003"
)


def kill_at(words: list[str], world: int, folder: Path, step: int, chance: random.Random) -> None:
    """SIGKILL to a rank of chance, at a moment of chance after a step is in the metrics."""
    log = folder / "run" / "metrics.jsonl"
    begun = start_together(words, world=world, folder=folder)
    end = time.monotonic() + PATIENCE_S
    while not log.exists() or log.read_text().count("\n") <= step:  # and the evaluation before
        assert time.monotonic() < end
        assert any(process.is_alive() for process in begun.processes)
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.05))
    victim = chance.randrange(world)
    begun.kill(victim)
    ended = begun.wait(PATIENCE_S)
    assert ended[victim].code == -signal.SIGKILL
    assert all(done.code != 0 for done in ended)


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_with_the_bits_of_one_that_was_not(
    models: Models, tmp_path: Path
) -> None:
    command = models.fill(COMMAND)
    ended = start_together([*command, "out=whole"], world=2, folder=tmp_path).wait(PATIENCE_S)
    assert [done.code for done in ended] == [0, 0], [done.stderr for done in ended]
    chance = random.Random(8)
    words = [*command, "out=run"]
    for step in sorted(chance.sample(range(1, STEPS - 3), 10)):
        kill_at(words, 2, tmp_path, step, chance)
        words = ["resume", "run"]
    ended = start_together(words, world=2, folder=tmp_path).wait(PATIENCE_S)
    assert [done.code for done in ended] == [0, 0], [done.stderr for done in ended]
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


WAYS = {
    "2": (2, ""),
    "4": (4, ""),
    "divided": (2, "shard=fsdp"),
    "copies of parts": (4, "shard=fsdp replicas=2"),
    "products": (2, "tensor_parallel=2"),
}


@pytest.mark.slow
def test_the_losses_of_fifty_steps_are_those_of_one_process(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """Also of a run that 2 ranks begin, 3 continue when it is killed, and one process ends."""
    command = models.fill(COMMAND)
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    for name, (world, words) in WAYS.items():
        folder = name.replace(" ", "-")
        said = [*command, *words.split(), f"out={folder}"]
        ended = start_together(said, world=world, folder=tmp_path).wait(PATIENCE_S)
        assert [done.code for done in ended] == [0] * world, [done.stderr for done in ended]
    chance = random.Random(9)
    kill_at([*command, "out=run"], 2, tmp_path, 15, chance)
    kill_at(["resume", "run"], 3, tmp_path, 33, chance)
    assert cli("resume run", folder=tmp_path).code == 0
    alone = rows_of(tmp_path / "alone")
    assert alone[STEPS]["loss"] < alone[1]["loss"] - 0.3  # it has learned
    for folder in ("run", *(name.replace(" ", "-") for name in WAYS)):
        rows = rows_of(tmp_path / folder)
        assert [row["step"] for row in rows] == [row["step"] for row in alone]
        for figure in ("loss", "tokens"):
            told, expected = (
                torch.tensor([row[figure] for row in each if figure in row], dtype=torch.float64)
                for each in (rows, alone)
            )
            torch.testing.assert_close(
                told, expected, rtol=1e-5, atol=0,
                msg=lambda text, folder=folder, figure=figure: f"{folder} {figure}: {text}",
            )  # fmt: skip
