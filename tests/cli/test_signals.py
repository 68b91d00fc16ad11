"""SIGINT and SIGTERM: the step in hand is finished and saved, the message says how to go on, and
nothing is lost by it.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.commands import PPO, REINFORCE, STAGES, Cli, Models, environment, outcome

INSIDE = "judge_process=trainer"
# A judge that signals the trainer, in whose process it runs, while it scores one of the batches:
# the signal comes between sampling and updating.
TELLING = """
import os
from pathlib import Path

def prompts():
    return ['say ' + a + b for a in 'abcdef' for b in 'uvwxyz']

def scores(prompts, completions):
    called = Path('called')
    number = len(called.read_text()) if called.exists() else 0
    called.write_text('.' * (number + 1))
    if number == int(os.environ.get('SIGNAL_AT', -1)):
        for _ in range(int(os.environ.get('SIGNALS', 1))):
            os.kill(os.getpid(), int(os.environ['SIGNAL']))
    return [sum(c.islower() for c in text) / max(1, len(text)) for text in completions]
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_stops_a_run_with_a_saved_step_and_how_to_go_on(
    stage: str, number: int, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(STAGES[stage])
    whole = cli([*words, "out=whole"], folder=tmp_path)
    assert whole.code == 0, whole.stderr
    steps_s = sum(
        json.loads(row)["total"]
        for row in (tmp_path / "whole" / "timings.jsonl").read_text().splitlines()
    )
    run, moment = tmp_path / "stopped", steps_s * random.Random(f"{stage} {number}").uniform(0, 0.5)
    stopped = cli(
        [*words, "out=stopped"],
        folder=tmp_path,
        signal=number,
        after_s=moment,
        once=run / "metrics.jsonl",
    )
    assert stopped.code == 128 + number, stopped
    assert "stopping after the step in hand, which is then saved; " in stopped.stdout
    assert re.fullmatch(
        r"fledge: stopped after step \d+ and saved\. Continue with: fledge resume stopped\n",
        stopped.stderr,
    )
    assert len(list((run / "checkpoints").iterdir())) == 1
    resumed = cli("resume stopped", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_signal_in_the_middle_of_a_ppo_update_is_saved_there(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "telling.py").write_text(TELLING)
    words = models.fill(PPO.replace("{letters}", "telling.py").replace("reward={reward}", ""))
    words += ["updates_per_step=4", INSIDE]
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    # Asked three times at the start, before the first step, in steps 1 and 2, by the evaluation
    # after them, in steps 3 and 4, … and at the end on the test part.
    assert len((tmp_path / "called").read_text()) == 13
    (tmp_path / "called").unlink()
    told = {"SIGNAL_AT": "7", "SIGNAL": str(int(signal.SIGTERM))}
    stopped = cli([*words, "out=stopped"], folder=tmp_path, environment=told)
    assert stopped.code == 128 + signal.SIGTERM, stopped
    [checkpoint] = (tmp_path / "stopped" / "checkpoints").iterdir()
    state = json.loads((checkpoint / "state.json").read_text())
    # of four optimizer steps on this batch
    assert state["algorithm"]["minibatches"]["position"] == 1
    assert cli("resume stopped", folder=tmp_path).code == 0
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(
    number: int, cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "telling.py").write_text(TELLING)
    told = {"SIGNAL_AT": "4", "SIGNAL": str(number), "SIGNALS": "2"}
    words = [*models.fill(REINFORCE.replace("{letters}", "telling.py")), INSIDE]
    stopped = cli([*words, "out=stopped"], folder=tmp_path, environment=told)
    assert stopped.code in (128 + number, -number)
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "stopped" / "checkpoints").exists()
    assert cli("resume stopped", folder=tmp_path).code == 0


def test_a_signal_before_there_is_a_run_leaves_the_same_command_to_work(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    task = tmp_path / "telling.py"
    task.write_text(
        "import os\nif not os.path.exists('told'):\n    open('told', 'w')\n    "
        f"os.kill(os.getpid(), {int(signal.SIGINT)})\n"
    )
    task.write_text(task.read_text() + (models.folder / "letters.py").read_text())
    words = [*models.fill(REINFORCE.replace("{letters}", "telling.py")), "out=again", INSIDE]
    stopped = cli(words, folder=tmp_path)
    assert stopped.code == 128 + signal.SIGINT
    assert stopped.stderr == (
        "fledge: stopped at once. If the run's folder is there, `fledge resume FOLDER` continues "
        "it.\n"
    )
    assert not (tmp_path / "again").exists()
    assert cli(words, folder=tmp_path).code == 0


def test_one_process_at_a_time_writes_a_run(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = [*models.fill(STAGES["pretrain"]), "steps=1000000", "evaluate_every=0", "out=busy"]
    busy = subprocess.Popen(
        [sys.executable, "-m", "fledge", *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "busy" / "metrics.jsonl").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = cli("resume busy", folder=tmp_path).complaint
        assert f"is being written by process {busy.pid}" in said
        assert "`busy` exists" in cli(words, folder=tmp_path).complaint
        assert cli("runs root=. --json", folder=tmp_path).result["runs"][0]["finished"] is False
    finally:
        busy.terminate()
        _, printed = busy.communicate(timeout=60)
    assert busy.returncode == 128 + signal.SIGTERM
    assert b"fledge resume busy" in printed
