"""Damaged checkpoints, a disk that fills up, and folders that may not be written: one sentence, and
nothing saved is lost.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.commands import STAGES, Cli, Models, outcome

TMPFS_KB = 4096

# Of each kind of what is saved one stage; the others go through the same code, and are slow tests.
FEW = (
    "pretrain", "distill", "prefer adapter", "align ppo", "control sac", "control q_learning",
    "fit gmm", "fit hmm",
)  # fmt: skip
KINDS_OF_STATE = [
    pytest.param(stage, marks=() if stage in FEW else pytest.mark.slow) for stage in STAGES
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_KB}k", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("stage", KINDS_OF_STATE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(STAGES[stage]), "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    steps, run = (
        len((tmp_path / "whole" / "timings.jsonl").read_text().splitlines()),
        tmp_path / "run",
    )
    middle = run / "checkpoints" / f"{steps // 2:08d}"
    stopped = cli([*words, "out=run"], folder=tmp_path, signal=signal.SIGKILL, once=middle)
    assert stopped.code == -signal.SIGKILL
    before, last = sorted(
        folder for folder in (run / "checkpoints").iterdir() if folder.name.isdigit()
    )[-2:]
    tensors = last / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[: tensors.stat().st_size // 2])
    resumed = cli("resume run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert f"checkpoint {last.name} is damaged (tensors.safetensors has" in resumed.stdout
    assert f"continuing from {before.name}" in resumed.stdout
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("stage", KINDS_OF_STATE)
def test_a_full_disk_ends_in_one_sentence_and_the_run_goes_on_once_there_is_room(
    stage: str, cli: Cli, models: Models, small_disk: Path
) -> None:
    words = [*models.fill(STAGES[stage]), "save_every_s=0"]
    whole = small_disk / "whole"
    assert cli([*words, f"out={whole.name}"], folder=small_disk).code == 0
    wanted, size = outcome(whole), sum(512 * file.stat().st_blocks for file in whole.rglob("*"))
    shutil.rmtree(whole)
    # from a disk that takes almost nothing to one that is full at the export
    shares = (
        0.05,
        0.3,
        0.6,
        0.8,
        1.0,
    )
    for number, share in enumerate(shares):
        free = os.statvfs(small_disk)
        (small_disk / "filler").write_bytes(
            bytes(max(0, free.f_bavail * free.f_frsize - int(share * size)))
        )
        run = small_disk / f"run-{number}"
        full = cli([*words, f"out={run.name}"], folder=small_disk)
        (small_disk / "filler").unlink()
        if (
            full.code == 0
            # checkpoints that are replaced take room for a moment only: the last share may be
            # enough
        ):
            assert share == shares[-1]
        else:
            assert "the disk is full" in full.complaint
            begun = (run / "config.json").exists()
            done = cli(
                ["resume", run.name] if begun else [*words, f"out={run.name}"], folder=small_disk
            )
            assert done.code == 0, (share, full, done)
        assert outcome(run) == wanted
        shutil.rmtree(run)


@pytest.mark.parametrize("stage", KINDS_OF_STATE)
def test_a_disk_that_is_full_at_the_export_ends_in_one_sentence_and_the_export_is_made_again(
    stage: str, cli: Cli, models: Models, small_disk: Path
) -> None:
    words = [*models.fill(STAGES[stage]), "save_every_s=1000"]  # one checkpoint, at the end
    whole = small_disk / "whole"
    assert cli([*words, f"out={whole.name}"], folder=small_disk).code == 0
    wanted = outcome(whole)
    size, model = (
        sum(512 * file.stat().st_blocks for file in folder.rglob("*"))
        for folder in (whole, whole / "model")
    )
    shutil.rmtree(whole)
    # An agent's best so far takes the room of a model while it learns, and gives it back where the
    # last is the best.
    for more in (0, model):
        free = os.statvfs(small_disk)
        filler = free.f_bavail * free.f_frsize - (size + more - model // 2)
        (small_disk / "filler").write_bytes(bytes(filler))
        full = cli([*words, "out=run"], folder=small_disk)
        if list((small_disk / "run" / "checkpoints").iterdir()):
            break
        (small_disk / "filler").unlink()
        shutil.rmtree(small_disk / "run")
    assert "the disk is full" in full.complaint
    # the training is done, and kept
    assert len(list((small_disk / "run" / "checkpoints").iterdir())) == 1
    (small_disk / "filler").unlink()
    assert cli("resume run", folder=small_disk).code == 0
    assert outcome(small_disk / "run") == wanted


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that may be read and not written: by its mode, or for root, whom no mode stops, by
    its file system.
    """
    folder = tmp_path / "closed"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("root may write everywhere, and mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("out", ["closed", "closed/below/run"])
@pytest.mark.parametrize("stage", KINDS_OF_STATE)
def test_a_folder_that_may_not_be_written_is_one_sentence(
    stage: str, out: str, cli: Cli, models: Models, closed_folder: Path
) -> None:
    done = cli([*models.fill(STAGES[stage]), f"out={out}"], folder=closed_folder.parent)
    assert "choose another `out`" in done.complaint
    assert "closed" in done.complaint


@pytest.mark.parametrize(
    "words",
    [
        "tokenizer train data={text} kind=bytes out=../closed/tokenizer",
        "report {tune} out=../closed/page.html",
    ],
)
def test_a_file_that_may_not_be_written_is_one_sentence(
    words: str, cli: Cli, models: Models, closed_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    assert "choose another `out`" in cli(models.fill(words), folder=tmp_path / "here").complaint


def test_a_default_folder_that_may_not_be_written_is_one_sentence(
    cli: Cli, models: Models, closed_folder: Path
) -> None:
    done = cli(models.fill(STAGES["pretrain"]), folder=closed_folder)
    assert "choose another `out`" in done.complaint


def test_a_file_in_the_way_of_a_run_is_one_sentence(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    for out, said in (("file", "`file` is a file"), ("file/run", "a part of the path is a file")):
        assert (
            said in cli([*models.fill(STAGES["pretrain"]), f"out={out}"], folder=tmp_path).complaint
        )
