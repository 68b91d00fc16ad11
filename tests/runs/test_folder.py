"""The run folder: made once, locked by one process, opened by anybody, and never half there."""

from __future__ import annotations

import gc
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fledge.errors import Diverged, UserError
from fledge.runs import folder as folder_module
from fledge.runs.folder import Run, find_runs


def test_a_run_comes_back_as_it_was_made(tmp_path: Path) -> None:
    config = {"steps": 3, "nested": {"learning_rate": 0.1}}
    Run.create(tmp_path / "a", "tune", config, seed=7, command="fledge tune").close()
    run = Run.open(tmp_path / "a")
    assert (run.verb, run.config, run.lineage["seed"], run.lineage["command"]) == (
        "tune",
        config,
        7,
        "fledge tune",
    )
    assert json.loads((tmp_path / "a" / "config.json").read_text()) == {
        "verb": "tune",
        "config": config,
    }
    assert run.model_folder == tmp_path / "a" / "model"
    assert not run.finished
    assert run.summary is None


def test_without_a_folder_the_first_free_name_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [Run.create(None, "tune", {}, seed=0).folder for _ in range(3)]
    assert folders == [Path("runs/tune"), Path("runs/tune-2"), Path("runs/tune-3")]


def test_a_run_is_not_made_twice_in_one_folder(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", "tune", {}, seed=0).close()
    with pytest.raises(
        UserError, match=r"exists: `fledge resume .*` continues that run, or choose another `out`"
    ):
        Run.create(tmp_path / "a", "tune", {}, seed=0)


def test_a_folder_with_other_things_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, "tune", {}, seed=0)
    with pytest.raises(UserError, match="is a file"):
        Run.create(tmp_path / "thesis.tex", "tune", {}, seed=0)


def test_what_a_kill_during_making_leaves_is_taken_again(tmp_path: Path) -> None:
    Run.create(tmp_path, "tune", {}, seed=0).close()
    (tmp_path / "config.json").rename(tmp_path / ".config.json.123.partial")
    assert sorted(os.listdir(tmp_path)) == [".config.json.123.partial", ".lock", "lineage.json"]
    Run.create(tmp_path, "tune", {}, seed=0)
    assert Run.open(tmp_path).verb == "tune"


@pytest.mark.parametrize(
    "name",
    [".git/HEAD", ".ssh/id_ed25519", ".bashrc", ".lock", "lineage.json", ".x.json.1.partial"],
)
def test_hidden_names_and_names_like_ours_are_content(name: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody's work, not a process number")
    with pytest.raises(
        UserError, match=rf"is not empty: .* It holds {re.escape(name.split('/')[0])}"
    ):
        Run.create(tmp_path / "theirs", "tune", {}, seed=0)
    assert [path for path in (tmp_path / "theirs").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == "somebody's work, not a process number"


@pytest.mark.parametrize("there_before", [False, True])
def test_a_run_is_taken_back_name_by_name_and_what_others_put_there_stays(
    there_before: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    if there_before:
        folder.mkdir()
    run = Run.create(folder, "pretrain", {}, seed=0)
    (folder / "shards").mkdir()
    for name in (
        "machine.json",
        "shards/index.json",
        "shards/train-00000.bin",
        "shards/tokenizer.json",
    ):
        (folder / name).write_text("{}")
    run.take_back()
    assert folder.exists() == there_before
    run = Run.create(folder, "pretrain", {}, seed=0)
    others = {folder / "notes.txt", folder / ".git" / "HEAD", folder / "shards" / "notes.txt"}
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("kept")
    run.take_back()
    assert {path for path in folder.rglob("*") if path.is_file()} == others


def test_a_run_that_was_opened_is_never_taken_back(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", "tune", {}, seed=0).close()
    before = sorted(os.listdir(tmp_path / "a"))
    Run.open(tmp_path / "a", writing=True).take_back()
    assert sorted(os.listdir(tmp_path / "a")) == before


def test_a_run_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Run.create(tmp_path / "a", "tune", {}, seed=0, data=[tmp_path / "missing.txt"])
    assert not (tmp_path / "a").exists()


def test_what_is_not_a_run_says_what_is_missing_and_what_is_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create(Path("runs/tune"), "tune", {}, seed=0)
    Path("runs/tune/model").mkdir()
    Path("runs/tune/model/config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    Path("runs/empty").mkdir()
    with pytest.raises(
        UserError,
        match=r"`runs/tun` is not a run: there is no such folder. Runs nearby: `runs/tune`.",
    ):
        Run.open(Path("runs/tun"))
    with pytest.raises(UserError, match=r"no config\.json"):
        Run.open(Path("runs/empty"))
    with pytest.raises(UserError, match=r"it is the model of the run `runs/tune`"):
        Run.open(Path("runs/tune/model"))
    with pytest.raises(UserError, match=r"There is no run nearby"):
        Run.open(Path("runs/empty"))


def test_stages_inside_a_road_are_found_and_checkpoints_are_not_searched(tmp_path: Path) -> None:
    for name in ("demo", "demo/pretrain", "demo/tune", "other"):
        Run.create(tmp_path / name, "x", {}, seed=0)
    (tmp_path / "demo/checkpoints/00000001").mkdir(parents=True)
    (tmp_path / "demo/checkpoints/00000001/config.json").write_text('{"verb": "x"}')
    names = ["demo", "demo/pretrain", "demo/tune", "other"]
    assert [str(run.folder.relative_to(tmp_path)) for run in find_runs(tmp_path)] == names
    assert [str(run.folder.relative_to(tmp_path)) for run in find_runs(tmp_path / "demo")] == names[
        :3
    ]
    assert find_runs(tmp_path / "nowhere") == []


def test_finishing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0)
    with pytest.raises(
        Diverged,
        match=r"summary\.json is not written: its `after\.loss` is nan, which is no number",
    ):
        run.finish({"before": {"loss": 1.0}, "after": {"loss": math.nan}})
    assert not run.finished

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            run.finish({"loss": 1.0})
    assert not run.finished
    assert not list((tmp_path / "a").glob(".*partial"))
    run.finish({"loss": 1.0})
    assert run.finished
    assert Run.open(tmp_path / "a").summary == {"loss": 1.0}


def test_rewinding_to_a_checkpoint_makes_the_logs_those_of_its_moment(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0)
    run.metrics.write({"step": 1})
    run.samples.write({"step": 1, "prompt": "é", "completion": ""})
    run.checkpoints.save(1, {"offsets": run.log_offsets()})
    before = {
        name: (run.folder / name).read_bytes()
        for name in ("metrics.jsonl", "samples.jsonl", "timings.jsonl")
    }
    for log in (run.metrics, run.samples, run.timings):
        log.write({"step": 2})
    run.close()
    again = Run.open(tmp_path / "a", writing=True)
    latest = again.checkpoints.latest(pytest.fail)
    assert latest is not None
    again.return_to(latest[0], latest[1]["offsets"], [], pytest.fail)
    assert {name: (run.folder / name).read_bytes() for name in before} == before


def test_what_a_checkpoint_goes_by_has_its_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, names = Run.create(tmp_path / "a", "tune", {}, seed=0), {}
    sync = os.fsync

    def noted(descriptor: int) -> None:
        sync(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            names[os.fstat(descriptor).st_ino] = set(os.listdir(descriptor))

    monkeypatch.setattr(os, "fsync", noted)
    offsets = run.log_offsets()
    assert names[run.folder.stat().st_ino] >= {"metrics.jsonl", "samples.jsonl", "timings.jsonl"}
    run.checkpoints.save(1, {"offsets": offsets})
    assert "checkpoints" in names[run.folder.stat().st_ino]
    assert "00000001" in names[run.checkpoints.folder.stat().st_ino]


HOLDER = """
import sys, time
from pathlib import Path
from fledge.runs.folder import Run
run = Run.create(Path(sys.argv[1]), "tune", {}, seed=0)
print("ready", flush=True)
time.sleep(60)
"""


def test_two_processes_do_not_write_one_run_and_kill_9_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(UserError, match=f"is being written by process {holder.pid}"):
            Run.open(tmp_path / "a", writing=True)
        assert Run.open(tmp_path / "a").verb == "tune"  # looking is always allowed
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    Run.open(tmp_path / "a", writing=True).close()


def test_a_child_of_the_process_that_writes_a_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the test ends
        os._exit(0)
    try:
        with pytest.raises(UserError, match="is being written by process"):
            Run.open(tmp_path / "a", writing=True)
        run.close()
        Run.open(tmp_path / "a", writing=True).close()
    finally:
        os.close(write)
        os.waitpid(child, 0)


SLOW_CHILD = """
import os, sys, time
from pathlib import Path
# Before fledge's own, which closes the lock there.
os.register_at_fork(after_in_child=lambda: time.sleep(1))
from fledge.runs.folder import Run
run = Run.create(Path(sys.argv[1]), "tune", {}, seed=0)
if os.fork() == 0:
    os._exit(0)
run.close()
Run.open(Path(sys.argv[1]), writing=True).close()
"""


def test_a_run_that_is_closed_can_be_opened_though_a_child_has_hardly_begun(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW_CHILD, str(tmp_path / "a")],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_run_that_nobody_has_any_more_lets_go_of_its_lock_and_its_logs(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0)
    run.metrics.write({"step": 1})
    descriptor = run.metrics._open()
    setattr(run, "itself", run)  # noqa: B010 (as the closures of a recipe keep it)
    del run
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    Run.open(tmp_path / "a", writing=True).close()


def test_closing_twice_closes_nothing_of_others(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0)
    run.metrics.write({"step": 1})
    run.close()
    # with the numbers that the run has had
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(8)]
    run.close()
    del run
    gc.collect()
    for number in others:
        os.close(number)


MAKER = """
import sys
from pathlib import Path
from fledge.runs.folder import Run
from fledge.runs import atomic
import os, signal
calls = 0
real = os.fsync
def dying(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = dying
Run.create(Path(sys.argv[1]), "tune", {"steps": 1}, seed=0).finish({"done": True})
"""


@pytest.mark.parametrize("moment", range(1, 7))
def test_a_kill_while_a_run_is_made_or_finished_leaves_a_run_or_a_free_folder(
    tmp_path: Path, moment: int
) -> None:
    died = subprocess.run(
        [sys.executable, "-c", MAKER, str(tmp_path / "a"), str(moment)], check=False
    )
    assert died.returncode == -signal.SIGKILL
    if (tmp_path / "a" / "config.json").exists():
        run = Run.open(tmp_path / "a", writing=True)
        assert run.config == {"steps": 1}
        assert run.summary in (None, {"done": True})
    else:
        Run.create(tmp_path / "a", "tune", {}, seed=0)


def test_size_leaves_out_the_runs_inside(tmp_path: Path) -> None:
    road = Run.create(tmp_path, "demo", {}, seed=0)
    alone = road.size()
    stage = Run.create(tmp_path / "tune", "tune", {}, seed=0)
    stage.checkpoints.save(1, {"w": torch.zeros(10_000)})
    assert road.size() == alone
    assert stage.size() > 40_000
    assert folder_module.verb_of(tmp_path) == "demo"
    assert os.path.isdir(tmp_path / "tune")
