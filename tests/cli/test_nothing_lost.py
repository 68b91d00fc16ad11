"""Whatever goes wrong, nothing is removed that the command has not made itself."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import ALIGN, PRETRAIN, Cli, Models

BROKEN = (
    "class Broken:\n    def __init__(self, policy, learner, stopwatch):\n        raise KeyError('a "
    "typo')\n"
)
BROKEN += "    def update(self, batch):\n        return {}\n"

# Mistakes that are found out after the run has its folder.
LATE_MISTAKES = {
    "pretrain": f"{PRETRAIN} data=short.txt",
    "align ppo with a short text": f"{ALIGN} algorithm=ppo ptx_coefficient=0.1 ptx_data=short.txt",
    "align by a class that raises": f"{ALIGN} algorithm=./mine.py:Broken",
    "distill": "distill teacher={pretrain} data=short.txt steps=1",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder of the user's, in which the mistakes are made."""
    (tmp_path / "short.txt").write_text("Short.")
    (tmp_path / "mine.py").write_text(BROKEN)
    for name in (".git/HEAD", ".ssh/id_ed25519", ".bashrc"):
        file = tmp_path / "home" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"the user's own {name}")
    return tmp_path


@pytest.mark.parametrize("mistake", LATE_MISTAKES)
def test_a_mistake_never_removes_a_folder_of_the_users(
    mistake: str, cli: Cli, models: Models, work: Path
) -> None:
    before = contents(work)
    words = models.fill(LATE_MISTAKES[mistake])
    assert (
        "is not empty: choose another `out`. It holds ."
        in cli([*words, "out=home"], folder=work).complaint
    )
    assert contents(work) == before
    inside = [
        word.replace("=short", f"={work}/short").replace("./mine", f"{work}/mine") for word in words
    ]
    assert "is not empty" in cli([*inside, "out=."], folder=work / "home").complaint
    assert contents(work) == before


@pytest.mark.parametrize("mistake", LATE_MISTAKES)
def test_a_mistake_leaves_no_run_and_no_more_than_was_there(
    mistake: str, cli: Cli, models: Models, work: Path
) -> None:
    before = contents(work)
    (work / "empty").mkdir()
    for out in ("new", "empty"):
        assert cli([*models.fill(LATE_MISTAKES[mistake]), f"out={out}"], folder=work).complaint
    assert contents(work) == before
    assert (work / "empty").is_dir()
    assert not (work / "new").exists()


def test_resume_removes_nothing_whatever_is_missing(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    run, text = tmp_path / "run", tmp_path / "text.txt"
    text.write_bytes((models.folder / "text.txt").read_bytes())
    words = [*models.fill(PRETRAIN), "data=text.txt", "save_every_s=0", "out=run"]
    cli(words, folder=tmp_path, signal=signal.SIGKILL, once=run / "checkpoints" / "00000004")
    (run / "metrics.jsonl").unlink()
    text.unlink()
    shard = run / "shards" / "train-00000.bin"
    shard.write_bytes(shard.read_bytes() + b"x")
    kept = {
        name: held
        for name, held in contents(run).items()
        if name.startswith(("checkpoints", "shards", "conf"))
    }
    assert cli("resume run", folder=tmp_path).complaint
    assert kept.items() <= contents(run).items()


def test_resume_of_a_run_whose_own_algorithm_has_a_typo_keeps_it(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from fledge.algorithms.policy.reinforce import Reinforce\nclass Mine(Reinforce):\n    "
        "pass\n"
    )
    words = [*models.fill(f"{ALIGN} algorithm=./mine.py:Mine"), "save_every_s=0", "out=run"]
    once = tmp_path / "run" / "checkpoints" / "00000002"
    stopped = cli(words, folder=tmp_path, signal=signal.SIGKILL, once=once)
    assert stopped.code == -signal.SIGKILL, stopped
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "mine.py").write_text(BROKEN.replace("Broken", "Mine"))
    before = contents(tmp_path / "run" / "checkpoints")
    assert cli("resume run", folder=tmp_path).complaint
    assert contents(tmp_path / "run" / "checkpoints") == before
    assert json.loads((tmp_path / "run" / "config.json").read_text())["verb"] == "align"
