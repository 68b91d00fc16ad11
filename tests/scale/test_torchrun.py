"""The user's own path: torchrun, a kill, and a resume with another number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import environment
from tests.cli.test_together import MIXED, check_figures, rows_of

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def start(number: int, words: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, str(number), "-m", "fledge", *words.split()],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in listed.split()]


@pytest.mark.slow
def test_a_run_is_killed_and_goes_on_with_more_and_with_fewer_processes(tmp_path: Path) -> None:
    draw = [f"row {n} {n * n % 97} of a text that is {n % 7} long" for n in range(600)]
    (tmp_path / "text.txt").write_text("\n\n".join(draw))
    command = MIXED.format(text="text.txt").replace("steps=12", "steps=60") + " save_every_s=0"
    log = tmp_path / "run" / "metrics.jsonl"
    begun = start(2, f"{command} out=run", tmp_path)
    for steps, number in ((10, 1), (25, 0)):
        end = time.monotonic() + 600
        while not log.exists() or log.read_text().count("\n") < steps:
            assert time.monotonic() < end
            assert begun.poll() is None, begun.communicate()[1]
            time.sleep(0.05)
        os.kill(children_of(begun)[number], signal.SIGKILL)
        said = begun.communicate(timeout=120)[1]
        assert begun.returncode != 0
        assert said.count(f"fledge: rank {number} has ended without a word") == 1, said
        begun = start(3, "resume run", tmp_path)
    told, said = begun.communicate(timeout=900)
    assert begun.returncode == 0, said
    assert "continuing run from step" in told.replace(str(tmp_path) + "/", "")
    assert "damaged" not in told + said
    assert [row["step"] for row in rows_of(tmp_path / "run", "timings")] == [*range(1, 61)]
    alone = start(1, f"{command} out=alone", tmp_path)
    assert alone.wait(900) == 0
    check_figures(tmp_path / "run", tmp_path / "alone", 1e-3, 1e-4)
