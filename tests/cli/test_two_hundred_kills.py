"""Two hundred kills at random moments over all verbs that train: every run still ends with the same
bits.
"""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest
from tests.cli.commands import STAGES, Cli, Models, outcome

KILLS, PARTS = 200, 8  # in parts, so that none is long
SEED = 13


@pytest.fixture(scope="module")
def whole(
    cli: Cli, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, str], float]]:
    """What each stage ends with when it is left alone, and how many seconds it lives."""
    folder = tmp_path_factory.mktemp("whole")
    ends: dict[str, tuple[dict[str, str], float]] = {}
    for stage, command in STAGES.items():
        out = stage.replace(" ", "-")
        done = cli([*models.fill(command), "save_every_s=0", f"out={out}"], folder=folder)
        assert done.code == 0, (stage, done.stderr)
        ends[stage] = outcome(folder / out), done.seconds
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_kill_costs_a_bit(
    part: int,
    cli: Cli,
    models: Models,
    whole: dict[str, tuple[dict[str, str], float]],
    tmp_path: Path,
) -> None:
    draw = random.Random(f"{SEED} {part}")
    stages = draw.sample(list(STAGES), len(STAGES))
    kills = runs = 0
    while kills < KILLS // PARTS:
        stage = stages[runs % len(stages)]
        wanted, life_s = whole[stage]
        run = tmp_path / f"{runs}"
        begin = [*models.fill(STAGES[stage]), "save_every_s=0", f"out={run.name}"]
        struck: list[float] = []
        while True:  # a run that was killed is continued, and that may be killed too
            words = ["resume", run.name] if (run / "config.json").exists() else begin
            moment = draw.uniform(0.02, 1.0 + 0.5 * len(struck)) * life_s
            done = cli(words, folder=tmp_path, signal=signal.SIGKILL, after_s=moment)
            if done.code != -signal.SIGKILL:
                break
            struck.append(moment)
        assert done.code == 0, (stage, struck, done.stderr)
        assert outcome(run) == wanted, (stage, struck)
        shutil.rmtree(run)
        kills, runs = kills + len(struck), runs + 1
    assert kills >= KILLS // PARTS
