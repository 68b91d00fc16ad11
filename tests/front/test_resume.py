"""A run of Python's that was stopped goes on to the same bits, with what it was given as an object
given again; where an import finds that, alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fledge
from fledge.loop import Interrupted
from tests.cli.commands import Cli, Models, outcome
from tests.front.test_in_memory import ALIGN, WORLD

MODULE = "def of_letters(prompt, completion):\n    return sum(map(str.islower, completion)) / 9\n"
PROMPTS = [f"say {a}{b}" for a in "abcdef" for b in "uvwxyz"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stopping(reward: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """The same reward, under which somebody presses Ctrl-C once."""
    left = [calls]

    def judge(prompt: str, completion: str) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return reward(prompt, completion)

    return judge


def test_a_lambda_is_given_again(cli: Cli, models: Models, here: Path) -> None:
    reward = lambda prompt, completion: len(completion) / 8  # noqa: E731
    fields = {"prompts": PROMPTS, "algorithm": "grpo", **ALIGN, "steps": 5}
    whole = fledge.align(models.folder / "tune", reward=reward, out="whole", **fields)
    with pytest.raises(Interrupted, match="Continue with: fledge resume cut"):
        fledge.align(models.folder / "tune", reward=stopping(reward, 140), out="cut", **fields)
    assert len(fledge.open_run("cut").metrics) < len(whole.metrics)
    with pytest.raises(fledge.UserError, match=r"give it again, fledge.resume\(RUN, reward="):
        fledge.resume("cut")
    assert "give it again" in cli("resume cut", folder=here).complaint
    done = fledge.resume("cut", reward=reward)
    assert outcome(done.folder) == outcome(whole.folder)
    with pytest.raises(fledge.UserError, match="was given no function to judge by"):
        fledge.resume(models.folder / "tune", reward=reward)


def test_a_function_that_an_import_finds_is_not(cli: Cli, models: Models, here: Path) -> None:
    here.joinpath("my_rewards.py").write_text(MODULE)
    sys.path.insert(0, str(here))
    import my_rewards  # pyright: ignore[reportMissingImports]

    sys.path.remove(str(here))
    run = fledge.align(
        models.folder / "tune", prompts=PROMPTS, reward=my_rewards.of_letters, out="run", **ALIGN
    )
    assert run.config["task"].startswith("python:my_rewards:of_letters:run/given/prompts-")
    hashed = [entry["path"] for entry in run._run.lineage["data"]]
    assert hashed[1:] == ["my_rewards.py"]
    before = outcome(run.folder)
    for lost in ("summary.json", "model/model.safetensors"):
        (run.folder / lost).unlink()
    done = cli("resume run", folder=here)
    assert done.code == 0, done.stderr
    assert outcome(run.folder) == before
    (run.folder / "summary.json").unlink()
    here.joinpath("my_rewards.py").write_text(MODULE.replace("9", "7"))
    assert "my_rewards.py has changed" in cli("resume run", folder=here).complaint
    del sys.modules["my_rewards"]


def test_a_world_is_given_again(here: Path) -> None:
    space: dict[str, Any] = {"__name__": "my_worlds"}
    exec(WORLD, space)
    fields = {"steps": 400, "copies": 2, "evaluation_episodes": 4, "pictures": False}
    run = fledge.control(space["Corridor"], **fields)
    before = outcome(run.folder)
    for lost in ("summary.json", "model/model.safetensors"):
        (run.folder / lost).unlink()
    with pytest.raises(fledge.UserError, match=r"fledge.resume\(RUN, world=…\)"):
        fledge.resume(fledge.open_run(run.folder))
    assert outcome(fledge.resume(run.folder, world=space["Corridor"]).folder) == before
    with pytest.raises(fledge.UserError, match="was given no world as an object"):
        fledge.resume(fledge.control(steps=8, evaluation_episodes=1, pictures=False), world=int)


def test_given_files_that_changed_stop_a_resume(models: Models, here: Path) -> None:
    reward = lambda prompt, completion: len(completion) / 8  # noqa: E731
    run = fledge.align(models.folder / "tune", prompts=PROMPTS, reward=reward, **ALIGN)
    [prompts] = run.folder.glob("given/prompts-*.jsonl")
    (run.folder / "summary.json").unlink()
    prompts.write_text(prompts.read_text().replace("say", "tell"))
    with pytest.raises(fledge.UserError, match="has changed"):
        fledge.resume(run.folder, reward=reward)
