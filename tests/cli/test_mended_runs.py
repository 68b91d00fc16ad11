"""Parts of a run that are lost or damaged: what is whole is used, what is not is said, and nothing
begins again unasked.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from tests.cli.commands import CONTROL_TABLE, PPO, PRETRAIN, REWARD, TUNE, Cli, Models, outcome

FINISHED = {
    "pretrain": f"{PRETRAIN} save_every_s=0 out=run",
    "reward": f"{REWARD} save_every_s=0 out=run",
    "control": f"{CONTROL_TABLE} save_every_s=0 out=run",
}


def summary(run: Path) -> dict[str, object]:
    """Without what the clock and the folder's name decide."""
    written = json.loads((run / "summary.json").read_text())
    return {name: value for name, value in written.items() if name not in ("seconds", "run")}


def stopped(cli: Cli, words: list[str], folder: Path, step: int) -> Path:
    once = folder / "run" / "checkpoints" / f"{step:08d}"
    killed = cli(
        [*words, "save_every_s=0", "out=run"], folder=folder, signal=signal.SIGKILL, once=once
    )
    assert killed.code == -signal.SIGKILL, killed
    return folder / "run"


@pytest.mark.parametrize(
    "kind", ["pretrain", "control", pytest.param("reward", marks=pytest.mark.slow)]
)
def test_a_finished_run_writes_a_lost_or_damaged_model_again(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert cli(models.fill(FINISHED[kind]), folder=tmp_path).code == 0
    run, words = tmp_path / "run", models.fill("sample base=run prompt=the max_new_tokens=2")
    wanted, told = outcome(run), (run / "summary.json").read_bytes()
    assert "is finished: there is nothing to continue" in cli("resume run", folder=tmp_path).stdout
    weights = run / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    if kind == "pretrain":
        assert "`fledge resume run` writes the model again" in cli(words, folder=tmp_path).complaint
    for _ in range(2):
        mended = cli("resume run", folder=tmp_path)
        assert mended.code == 0, mended.stderr
        assert "is lost or damaged: it is written again from the last checkpoint" in mended.stdout
        assert outcome(run) == wanted
        assert (run / "summary.json").read_bytes() == told
        shutil.rmtree(run / "model")
    if kind == "pretrain":
        assert "`fledge resume run` writes the model again" in cli(words, folder=tmp_path).complaint
        shutil.rmtree(run / "checkpoints")
        assert "no checkpoint of the run is left" in cli(words, folder=tmp_path).complaint
        assert "from_start=true` trains it again" in cli("resume run", folder=tmp_path).complaint
        assert cli("resume run from_start=true", folder=tmp_path).code == 0
        assert outcome(run) == wanted
        assert cli(words, folder=tmp_path).code == 0


LOGS = ("metrics.jsonl", "samples.jsonl", "timings.jsonl")


HARMS = ("lost", "short", "torn", "a line of it broken", "a folder in its place")
OFTEN = {("lost", "align ppo"), ("a line of it broken", "tune")}


@pytest.mark.parametrize(
    ("harm", "stage"),
    [
        pytest.param(harm, stage, marks=() if (harm, stage) in OFTEN else pytest.mark.slow)
        for harm in HARMS
        for stage in ("tune", "align ppo")
    ],
)
def test_a_damaged_log_never_stops_a_run_with_whole_checkpoints(
    harm: str, stage: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill({"tune": TUNE, "align ppo": PPO}[stage])
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    run = stopped(cli, words, tmp_path, 4)
    for name in LOGS:
        log = run / name
        if not log.exists() or not log.read_bytes():
            continue
        lines = log.read_bytes().splitlines(keepends=True)
        log.unlink()
        if harm == "short":
            log.write_bytes(b"".join(lines[:1]))
        elif harm == "torn":
            log.write_bytes(b"".join(lines[:1]) + lines[1][:5])
        elif harm == "a line of it broken":
            log.write_bytes(b"".join([lines[0], b"x" * (len(lines[1]) - 1) + b"\n", *lines[2:]]))
        elif harm == "a folder in its place":
            log.mkdir()
    resumed = cli("resume run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    said = {"lost": "is missing", "short": "is shorter than", "torn": "is shorter than"}.get(
        harm, "is damaged or was changed"
    )
    assert f"metrics.jsonl {said}" in resumed.stdout
    assert (
        outcome(run)["model/model.safetensors"]
        == outcome(tmp_path / "whole")["model/model.safetensors"]
    )
    assert summary(run) == summary(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    kept = (run / "metrics.jsonl.damaged").exists()
    assert kept == (harm in ("a line of it broken", "a folder in its place"))


@pytest.mark.parametrize("harm", ["lost", pytest.param("torn", marks=pytest.mark.slow)])
def test_the_precision_comes_from_the_checkpoint_where_machine_json_is_lost(
    harm: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(TUNE.replace("precision=fp32", "precision=bf16"))
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    run = stopped(cli, words, tmp_path, 4)
    kept = json.loads((run / "machine.json").read_text())
    config = json.loads((run / "config.json").read_text())
    config["config"]["precision"] = (
        "auto"  # which would be measured, and on this processor come out as fp32
    )
    (run / "config.json").write_text(json.dumps(config))
    (run / "machine.json").write_text('{"precision": "bf1')
    if harm == "lost":
        (run / "machine.json").unlink()
    resumed = cli("resume run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert "bf16, as the checkpoint says" in resumed.stdout
    assert outcome(run) == outcome(tmp_path / "whole")
    assert json.loads((run / "machine.json").read_text()) == kept


def test_where_no_checkpoint_is_whole_it_is_asked_before_the_run_begins_again(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(TUNE)
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    run = stopped(cli, words, tmp_path, 5)
    for tensors in run.glob("checkpoints/*/tensors.safetensors"):
        tensors.write_bytes(tensors.read_bytes()[:-1])
    logs = {name: (run / name).read_bytes() for name in LOGS if (run / name).exists()}
    logs = {name: content for name, content in logs.items() if content}
    assert "no checkpoint of run is whole" in cli("resume run", folder=tmp_path).complaint
    assert {name: (run / name).read_bytes() for name in logs} == logs
    again = cli("resume run from_start=true", folder=tmp_path)
    assert again.code == 0, again.stderr
    assert outcome(run) == outcome(tmp_path / "whole")
    assert {name: (run / f"{name}.before").read_bytes() for name in logs} == logs
    assert list(run.glob("checkpoints.before/*/state.json"))


def test_a_finished_run_that_is_trained_anew_has_the_figures_of_what_it_has_now(
    cli: Cli, tmp_path: Path
) -> None:
    """Model and checkpoints are lost and the world pays otherwise now: its summary told of the one
    before.
    """
    (tmp_path / "map.txt").write_text("S..\n..+\n")
    table = (
        "world=gridworld:map.txt algorithm=q_learning steps=400 copies=4 steps_per_batch=20 "
        "evaluation_episodes=2"
    )
    words = f"control {table} pictures=false save_every_s=0"
    assert cli(f"{words} out=run", folder=tmp_path).code == 0
    run = tmp_path / "run"
    before = {
        name: (run / name).read_bytes()
        for name in ("summary.json", "model.sha256", "metrics.jsonl")
    }
    (tmp_path / "map.txt").write_text("S.......\n.......+\n")
    assert cli(f"{words} out=other", folder=tmp_path).code == 0
    shutil.rmtree(run / "checkpoints")
    (run / "model" / "model.safetensors").write_bytes(b"")
    assert "from_start=true` trains it again" in cli("resume run", folder=tmp_path).complaint
    anew = cli("resume run from_start=true accept_changes=true --json", folder=tmp_path)
    assert anew.code == 0, anew.stderr
    assert "written again from the last checkpoint" not in anew.stderr
    assert outcome(run) == outcome(tmp_path / "other")
    assert summary(run) == summary(tmp_path / "other")
    assert anew.result == json.loads((run / "summary.json").read_text())
    assert {name: (run / f"{name}.before").read_bytes() for name in before} == before
    assert (run / "model.before" / "model.safetensors").read_bytes() == b""
    assert before["summary.json"] != (run / "summary.json").read_bytes()


def test_a_checkpoint_of_another_run_is_told_apart(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(TUNE)
    assert cli([*words, "save_every_s=0", "seed=1", "out=other"], folder=tmp_path).code == 0
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    run = stopped(cli, words, tmp_path, 4)
    shutil.copytree(
        tmp_path / "other" / "checkpoints" / "00000012", run / "checkpoints" / "00000012"
    )
    resumed = cli("resume run", folder=tmp_path)
    assert (
        "checkpoint 00000012 is damaged (it was saved by another run): continuing from"
        in resumed.stdout
    )
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_checkpoint_of_an_earlier_version_that_does_not_fit_is_one_sentence(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert cli([*models.fill(REWARD), "out=other"], folder=tmp_path).code == 0
    run = stopped(cli, models.fill(TUNE), tmp_path, 4)
    foreign = run / "checkpoints" / "00000012"
    shutil.copytree(tmp_path / "other" / "checkpoints" / "00000012", foreign)
    manifest = json.loads((foreign / "manifest.json").read_text())
    del manifest["run"]  # earlier versions did not say whose it is
    (foreign / "manifest.json").write_text(json.dumps(manifest))
    assert (
        "checkpoint 00000012 of run does not fit the run"
        in cli("resume run", folder=tmp_path).complaint
    )
