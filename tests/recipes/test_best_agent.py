"""The best agent of a run of `fledge control`: no restart, no other way and no flipped bit takes it
or passes for it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from rich.console import Console

from fledge.cli.resume import ResumeConfig, resume
from fledge.errors import UserError
from fledge.recipes.control import agent_run as recipe
from fledge.recipes.control.agent_files import find_agent
from fledge.recipes.control.agents import load_agent
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.control.control import control
from fledge.recipes.look.play import PlayConfig, play
from fledge.runs.checkpoint import load_state, save_state
from fledge.runs.folder import Run
from fledge.runs.show import Show


class Pays(gymnasium.Env):
    """Eight steps an episode; `pays` holds what the evaluations earn, one after the other, and then
    the last and the best agent.

    A world of Python's own cannot be put back, so a run of it that goes on does so with other
    episodes.
    """

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    pays: tuple[float, ...] = ()
    begun = -1

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.begun += seed is not None
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.count += 1
        pay = self.pays[min(self.begun, len(self.pays) - 1)] / 8
        return np.full(1, self.count / 8, np.float32), pay, self.count == 8, False, {}


class Killed(Exception):
    """Stands in for a power cut."""


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gymnasium.registry, "Pays-v0", EnvSpec("Pays-v0", lambda **given: Pays(**given))
    )


def config(out: Path, **fields: Any) -> ControlConfig:
    own: dict[str, Any] = {
        "world": "Pays-v0", "steps": 192, "copies": 2, "steps_per_batch": 16, "rows_per_update": 16,
        "widths": (8,), "evaluate_every": 64, "evaluation_episodes": 1, "pictures": False,
        "save_every_s": 0.0, "device": "cpu",
    }  # fmt: skip
    return ControlConfig.read(own | {"out": out} | fields)


def said(out: io.StringIO) -> str:
    return out.getvalue().replace("\n", " ")


def trained(out: Path, *pays: float, **fields: Any) -> dict[str, Any]:
    """Evaluations before the first step, after 64, 128 and 192 world steps."""
    Pays.pays = pays
    return control(config(out, **fields), Show(Console(file=io.StringIO())))


def killed_at_its_best(
    out: Path, monkeypatch: pytest.MonkeyPatch, *pays: float
) -> dict[str, bytes]:
    """A run that dies when it has written the agent of the last of `pays`, before any checkpoint of
    it; that agent's files.
    """
    real = recipe.keep_best

    def dying(run: Run, built: Any, card: Any) -> None:
        real(run, built, card)
        if card.evaluation_return == pays[-1]:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(recipe, "keep_best", dying)
        with pytest.raises(Killed):
            trained(out, *pays)
    return files(out / "best")


def continued(run: Path, *pays: float, **fields: Any) -> tuple[dict[str, Any], str]:
    Pays.pays, out = pays, io.StringIO()
    return resume(ResumeConfig(run=run, **fields), Show(Console(file=out, width=500))), said(out)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_beginning_again_sets_the_best_agent_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    best = killed_at_its_best(run, monkeypatch, 0, 40, 90)
    assert set(best) == {"model.safetensors", "agent.json"}
    for tensors in run.glob("checkpoints/*/tensors.safetensors"):
        flip(tensors)
    with pytest.raises(
        UserError, match="from_start=true` begins at step 0 and sets aside what is there"
    ):
        continued(run, 0)
    assert files(run / "best") == best
    summary, told = continued(run, 0, 20, 10, 5, 6, 7, from_start=True)
    assert files(run / "best.before") == best
    assert (
        hashlib.sha256(best["agent.json"]).hexdigest() in (run / "best.sha256.before").read_text()
    )
    assert "best.before, best.sha256.before" in told
    assert (summary["kept"], summary["best_evaluation_return"]) == ("best", 20)
    assert files(run / "best") != best


def test_a_run_whose_checkpoints_are_gone_keeps_its_best_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    best = killed_at_its_best(run, monkeypatch, 0, 40, 90)
    shutil.rmtree(run / "checkpoints")
    summary, told = continued(run, 0, 20, 10, 5, 6, 7)
    assert files(run / "best.before") == best
    assert (
        "begins at step 0, for there is no checkpoint; what was there is kept as "
        "metrics.jsonl.before"
    ) in told
    assert summary["best_evaluation_return"] == 20


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_kill_while_it_is_set_aside_loses_nothing_and_the_run_still_begins_again(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished run without its weights and checkpoints seven names are left; none of them
    alone passes for a whole run.
    """
    run = tmp_path / "run"
    trained(run, 0, 90, 40, 10, 5, 6)
    shutil.rmtree(run / "checkpoints")
    (run / "model" / "model.safetensors").unlink()
    had = {
        name: (run / name).read_bytes()
        for name in ("summary.json", "metrics.jsonl", "timings.jsonl")
    }
    had |= {name: (run / name).read_bytes() for name in ("best.sha256", "model.sha256")}
    agents = {name: files(run / name) for name in ("best", "model")}
    real, calls = Path.rename, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += ".before" in str(target)
        if calls == moment:
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            continued(run, 0, 20, 10, 5, 6, from_start=True)
    summary, _ = continued(run, 0, 20, 10, 5, 6, from_start=True)
    assert summary["best_evaluation_return"] == 20
    assert {name: (run / f"{name}.before").read_bytes() for name in had} == had
    assert {name: files(run / f"{name}.before") for name in agents} == agents


@pytest.mark.parametrize(
    ("later", "highest"),
    [((20, 10), 90), ((60, 10), 90), ((95, 10), 95), ((10, 95), 95)],
    ids=["never so good", "better than its log", "better than all", "the last is the best"],
)
def test_what_is_in_best_is_told_by_its_own_card_on_another_way_too(
    later: tuple[float, float], highest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It earned 90 and died; it goes on from before that evaluation, where its log knows of 40,
    with other episodes.
    """
    run = tmp_path / "run"
    best = killed_at_its_best(run, monkeypatch, 0, 40, 90)
    judged = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert max(row.get("evaluation_return", 0) for row in judged) == 40
    summary, told = continued(run, *later, 5, 6)
    assert summary["best_evaluation_return"] == highest
    assert (run / "best").exists() == (later != (10, 95))
    assert ((run / "best").exists() and files(run / "best") == best) == (highest == 90)
    if highest == 90:
        taken = json.loads(best["agent.json"])["world_steps"]
        assert summary["best_steps"] == taken
        assert f"Kept: the best agent, of step {taken} with 90.0" in told
        assert summary["test_return"] == 6


@pytest.mark.parametrize("name", ["model.safetensors", "agent.json"])
@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_a_best_agent_that_is_not_what_was_written_plays_nowhere(
    name: str, harm: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert trained(run, 0, 90, 40, 10, 5, 6)["kept"] == "best"
    if harm == "flipped":
        flip(run / "best" / name)
    else:
        (run / "best" / name).unlink()
    shutil.rmtree(run / "checkpoints")
    what = (
        f"best/{name} is {'not what the run wrote' if harm == 'flipped' else 'gone'}.*put it back "
        "from a copy"
    )
    show = Show(Console(file=io.StringIO()))
    for read in (
        lambda: load_agent(run),
        lambda: play(PlayConfig(run=run), show),
        lambda: trained(tmp_path / "more", 0, base=run / "best"),
        lambda: trained(tmp_path / "more", 0, algorithm="cloning", expert=run),
        lambda: continued(run, 0),
    ):
        with pytest.raises(UserError, match=what):
            read()
    assert not (tmp_path / "more").exists()
    assert play(PlayConfig(run=run, which="last"), show)["which"] == "last"
    shutil.rmtree(run / "best")  # as the sentence says
    (run / "best.sha256").unlink()
    assert play(PlayConfig(run=run), show)["which"] == "last"
    assert "there is nothing to continue" in continued(run, 0)[1]


@pytest.mark.parametrize("harm", ["model.safetensors", "agent.json", "folder"])
def test_a_finished_run_writes_a_damaged_best_agent_again(harm: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = trained(run, 0, 90, 40, 10, 5, 6, normalise=True)
    had = {name: files(run / name) for name in ("best", "model")}
    had_beside = {name: (run / name).read_bytes() for name in ("best.sha256", "summary.json")}
    assert had["best"]["model.safetensors"] != had["model"]["model.safetensors"]
    if harm == "folder":
        shutil.rmtree(run / "best")
    else:
        flip(run / "best" / harm)
    again, told = continued(run, 0)
    assert f"the best agent of {run} is lost or damaged: it is written again" in told
    assert {name: files(run / name) for name in had} == had
    assert {name: (run / name).read_bytes() for name in had_beside} == had_beside
    assert again == summary | {"run": again["run"]}
    assert (run / "best.damaged").exists() == (harm != "folder")
    assert "there is nothing to continue" in continued(run, 0)[1]


def test_a_checkpoint_of_a_version_that_kept_no_best_agent_says_what_to_do(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(run, 0, 90, 40, 10, 5, 6)
    for folder in (run / "checkpoints").iterdir():
        state = load_state(folder)
        del state["beside"]["best"]
        save_state(folder, state, owner=Run(run).lineage["id"])
    assert "there is nothing to continue" in continued(run, 0)[1]
    flip(run / "best" / "model.safetensors")
    best = files(run / "best")
    with pytest.raises(UserError, match=r"does not hold it .*put it back from a copy, or remove"):
        continued(run, 0)
    assert files(run / "best") == best


def test_a_run_that_goes_on_has_its_best_agent_back_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def dying(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:  # after its last evaluation, with everything saved
        patched.setattr(recipe, "conclude", dying)
        with pytest.raises(Killed):
            trained(run, 0, 90, 40, 10)
    best = files(run / "best")
    flip(run / "best" / "model.safetensors")
    summary, told = continued(run, 5, 6)
    assert f"kept as {run / 'best.damaged'}: it is written again from the checkpoint" in told
    assert files(run / "best") == best
    assert (summary["kept"], summary["best_evaluation_return"]) == ("best", 90)


def test_a_lost_best_agent_is_not_taken_for_the_last_one(tmp_path: Path) -> None:
    trained(tmp_path / "run", 0, 90, 40, 10, 5, 6)
    shutil.rmtree(tmp_path / "run" / "best")
    with pytest.raises(UserError, match=r"best/agent.json is gone"):
        find_agent(tmp_path / "run", "best")


def test_a_run_goes_on_with_the_best_agent_of_its_checkpoint_and_keeps_the_damaged_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    killed_at_its_best(run, monkeypatch, 0, 40, 90)
    flip(run / "best" / "model.safetensors")
    best = files(run / "best")
    summary, told = continued(run, 30, 10, 5, 6)
    assert f"kept as {run / 'best.damaged'}: it is written again from the checkpoint" in told
    assert files(run / "best.damaged") == best
    assert (summary["kept"], summary["best_evaluation_return"]) == ("best", 40)
    assert load_agent(run).card is not None


def test_runs_of_a_time_without_hashes_of_the_best_agent_still_open(tmp_path: Path) -> None:
    trained(tmp_path / "run", 0, 90, 40, 10, 5, 6)
    (tmp_path / "run" / "best.sha256").unlink()
    card = load_agent(tmp_path / "run").card
    assert card is not None
    assert card.evaluation_return == 90
    assert "there is nothing to continue" in continued(tmp_path / "run", 0)[1]


def test_where_the_last_is_the_best_no_hashes_are_left(tmp_path: Path) -> None:
    assert trained(tmp_path / "run", 0, 40, 10, 90, 5)["kept"] == "last"
    assert not list((tmp_path / "run").glob("best*"))


def test_lineage_has_the_hashes_of_the_agent_that_was_read(tmp_path: Path) -> None:
    """An expert is its run's best agent, a base the last one unless best/ is named."""
    trained(tmp_path / "one", 0, 90, 40, 10, 5, 6)
    read = {
        "expert": ({"algorithm": "cloning", "expert": tmp_path / "one"}, "best"),
        "best": ({"base": tmp_path / "one" / "best"}, "best"),
        "last": ({"base": tmp_path / "one"}, "model"),
    }
    for name, (fields, which) in read.items():
        trained(tmp_path / name, 0, 40, 10, 90, 5, **fields)
        lineage = json.loads((tmp_path / name / "lineage.json").read_text())
        weights = (tmp_path / "one" / which / "model.safetensors").read_bytes()
        assert lineage["parents"] == [
            {
                "path": "../one",
                "verb": "control",
                "model_sha256": hashlib.sha256(weights).hexdigest(),
            }
        ]
        (given,) = (each for each in lineage["inputs"] if "model" in each)
        assert given["model"] == str(tmp_path / "one" / which)
        assert given["files"] == {
            file: hashlib.sha256(content).hexdigest()
            for file, content in files(Path(given["model"])).items()
        }


def test_another_agent_in_the_place_of_the_one_it_began_from_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "one", 0, 90, 40, 10, 5, 6)

    def dying(run: Run, built: Any, card: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(recipe, "keep_best", dying)
        with pytest.raises(Killed):
            trained(tmp_path / "two", 0, base=tmp_path / "one" / "best")
    # says what rewards are divided by, which the run takes over
    card = tmp_path / "one" / "best" / "agent.json"
    card.write_text(card.read_text().replace("90.0", "91.0"))
    with pytest.raises(UserError, match=r"one/best/agent.json has changed"):
        continued(tmp_path / "two", 0)


def test_an_agent_that_finds_no_room_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "run", 0, 40, 10, 90, 5)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def fails(path: Path) -> dict[str, torch.Tensor]:
        raise error

    monkeypatch.setattr("fledge.recipes.control.agent_files.load_file", fails)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        load_agent(tmp_path / "run")
    assert raised.value is error
