"""A run that is killed at any moment and resumed ends with the same bits as one that was left
alone.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from tests.cli.commands import KINDS, STAGES, Cli, Done, Models, outcome

KILLS = 20  # moments a stage, one in each twentieth of the run's life
PARTS = 4  # tests they are shared out to, so that none is long


# every fourth moment is an ordinary test, the others are slow ones
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))]
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_random_moments_and_resumed_ends_with_the_same_bits(
    stage: str, part: int, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(STAGES[stage]), "save_every_s=0"]
    whole = cli([*words, "out=whole"], folder=tmp_path)
    assert whole.code == 0, whole.stderr
    wanted = outcome(tmp_path / "whole")
    draw = random.Random(f"{stage} {part}")
    for number in range(part, KILLS, PARTS):
        run, killed = kill(
            cli, words, tmp_path, whole.seconds, (number + draw.random()) / KILLS, draw
        )
        resumed = cli(follow_up(words, run), folder=tmp_path)
        assert resumed.code == 0, (killed, resumed)
        assert outcome(run) == wanted, (killed, resumed)


@pytest.mark.parametrize("stage", STAGES | KINDS)
def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill((STAGES | KINDS)[stage]), "save_every_s=0"]
    whole = cli([*words, "out=whole"], folder=tmp_path)
    draw = random.Random(stage)
    run, ended = kill(cli, words, tmp_path, whole.seconds, draw.uniform(0.1, 0.6), draw)
    kills = 1
    while ended.code == -signal.SIGKILL:
        # later and later: one of them comes to the end
        moment = draw.uniform(0.1, 0.6 + 0.1 * kills) * whole.seconds
        ended = cli(follow_up(words, run), folder=tmp_path, signal=signal.SIGKILL, after_s=moment)
        kills += 1
    assert ended.code == 0, ended.stderr
    assert outcome(run) == outcome(tmp_path / "whole")


def kill(
    cli: Cli, words: list[str], folder: Path, life_s: float, share: float, draw: random.Random
) -> tuple[Path, Done]:
    """A run killed when `share` of its life is over. One that was faster than that does not count:
    another draw.
    """
    for turn in range(10):
        run = folder / f"killed-at-{share:.4f}-{turn}"
        done = cli(
            [*words, f"out={run.name}"],
            folder=folder,
            signal=signal.SIGKILL,
            after_s=share * life_s,
        )
        if done.code == -signal.SIGKILL:
            return run, done
        assert done.code == 0, done.stderr
        # The machine may have been busy when a life was measured.
        life_s, share = min(life_s, done.seconds), draw.random()
    raise AssertionError(
        f"ten runs ended before they could be killed, though one took {life_s:.2f} s"
    )


def follow_up(words: list[str], run: Path) -> list[str]:
    """What a user does next: resume, or the same command again where the kill came before the
    folder was a run.
    """
    return (
        ["resume", f"run={run.name}"]
        if (run / "config.json").exists()
        else [*words, f"out={run.name}"]
    )
