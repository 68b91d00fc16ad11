"""A model folder: one whole model stands at every moment, what others put there stays, and a
flipped bit is noticed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.runs.folder import Run
from fledge.runs.model_files import (
    MODEL_FILES,
    check_model,
    find_standing_model,
    model_is_whole,
    remove_model,
    write_model,
)


def write(folder: Path, content: str) -> None:
    with write_model(folder) as beside:
        for name in MODEL_FILES:
            (beside / name).write_text(content)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Run.create(tmp_path / "run", "tune", {}, seed=0).close()
    return tmp_path / "run"


def killed_before_call(moment: int, folder: Path) -> bool:
    """Write a new model in a process that dies before its system call number `moment`; False if it
    made fewer.
    """
    pid = os.fork()
    if pid == 0:
        calls = 0

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return counted

        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, dying(getattr(os, name)))
        write(folder, "new")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("name", ["model", "best"])
def test_a_kill_before_any_system_call_leaves_one_whole_model_its_hashes_and_what_others_put_there(
    name: str, run: Path
) -> None:
    write(run / name, "old")
    (run / name / "notes.md").write_text("a note")
    seen: set[str] = set()
    for moment in range(1, 100):
        copy = run.with_name(f"killed-{moment}")
        shutil.copytree(run, copy)
        if not killed_before_call(moment, copy / name):
            break
        standing = find_standing_model(copy / name)
        check_model(standing)
        contents = {(standing / file).read_text() for file in MODEL_FILES}
        assert len(contents) == 1, f"half of each at call {moment}"
        seen |= contents
        write(copy / name, "third")
        assert {(copy / name / file).read_text() for file in MODEL_FILES} == {"third"}
        assert (copy / name / "notes.md").read_text() == "a note"
        assert {
            left for left in os.listdir(copy) if left.startswith((f".{name}.p", f".{name}.r"))
        } == set()
        # what was allowed while it was replaced is no longer
        (copy / name / "config.json").write_text("old")
        with pytest.raises(UserError, match="is not what the run wrote"):
            check_model(copy / name)
        shutil.rmtree(copy)
    else:
        pytest.fail("it never came to its end")
    assert moment > 12
    assert seen == {"old", "new"}


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_flipped_bit_and_a_lost_file_are_one_sentence_that_points_to_resume(
    name: str, run: Path
) -> None:
    write(run / "model", "old")
    check_model(run / "model")
    assert model_is_whole(run)
    (run / "checkpoints" / "00000012").mkdir(parents=True)
    (run / "model" / name).write_text("olc")
    assert not model_is_whole(run)
    with pytest.raises(
        UserError,
        match=rf"{name} is not what the run wrote .*`fledge resume {run}` writes the model again",
    ):
        check_model(run / "model")
    (run / "model" / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is gone: `fledge resume"):
        check_model(run / "model")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint of the run is left"):
        check_model(run / "model")


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_checkpoint_is_promised_for_a_best_agent_where_there_is_one(name: str, run: Path) -> None:
    write(run / "best", "old")
    check_model(run / "best")
    (run / "checkpoints" / "00000012").mkdir(parents=True)
    (run / "best" / name).write_text("olc")
    with pytest.raises(
        UserError, match=rf"{name} is not what the run wrote .*`fledge resume \S+` writes it again"
    ):
        check_model(run / "best")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(
        UserError, match=rf"{name} is not what the run wrote .* put it back from a copy, or remove"
    ):
        check_model(run / "best")
    (run / "best" / name).unlink()
    with pytest.raises(UserError, match=rf"best/{name} is gone: put it back from a copy"):
        check_model(run / "best")


def test_a_model_and_a_best_agent_have_hashes_of_their_own(run: Path) -> None:
    write(run / "model", "old")
    write(run / "best", "new")
    check_model(run / "model")
    check_model(run / "best")
    remove_model(run / "best")
    assert {path.name for path in run.iterdir() if "model" in path.name or "best" in path.name} == {
        "model", "model.sha256"
    }  # fmt: skip
    assert model_is_whole(run)


def test_another_folder_in_a_run_does_not_pass_for_its_model(run: Path) -> None:
    write(run / "model", "old")
    write(run / "mine", "new")
    assert model_is_whole(run)


def test_a_folder_of_somebody_elses_is_believed_and_gets_no_hashes(tmp_path: Path) -> None:
    write(tmp_path / "mine", "old")
    (tmp_path / "mine" / "config.json").write_text("changed")
    check_model(tmp_path / "mine")
    assert os.listdir(tmp_path) == ["mine"]


def test_the_hashes_are_those_that_sha256sum_checks(run: Path) -> None:
    write(run / "model", "old")
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not here")
    assert (
        subprocess.run(
            ["sha256sum", "--quiet", "-c", "model.sha256"], cwd=run, check=False
        ).returncode
        == 0
    )


def test_the_files_have_the_mode_that_the_umask_gives(run: Path) -> None:
    before = os.umask(0o027)
    try:
        write(run / "model", "old")
    finally:
        os.umask(before)
    assert {oct((run / "model" / name).stat().st_mode & 0o777) for name in MODEL_FILES} == {"0o640"}
