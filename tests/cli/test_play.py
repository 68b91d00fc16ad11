"""`fledge play`, the best agent beside the last, going on from a finished run, and steps as
asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.cli.commands import Cli

BRIEF = "copies=2 steps_per_batch=32 widths=8 pictures=false"
QUICK = f"{BRIEF} rows_per_update=16"
# Pays by how often this copy has been begun with a seed: what a run's one judging copy pays is set,
# evaluation by evaluation.
PAYS = """\
import gymnasium, numpy as np
from gymnasium import spaces

class World(gymnasium.Env):
    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    # Before, twice on the way and at the end; then the last agent, then the best.
    PAYS = [0, 2, 7, 3, 10, 20]
    begun = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.begun += seed is not None
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        pay = self.PAYS[min(self.begun, 5)] / 8
        return np.full(1, self.count / 8, np.float32), pay, self.count == 8, False, {}
"""


def test_the_best_agent_is_kept_beside_the_last_and_judged_by_episodes_that_did_not_choose_it(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "pays.py").write_text(PAYS)
    words = (
        f"control {QUICK} world=./pays.py:World steps=260 evaluate_every=64 evaluation_episodes=1 "
        "out=run"
    )
    done = cli(f"{words} --json", folder=tmp_path)
    result, run = done.result, tmp_path / "run"
    judged = [
        row for row in map(json.loads, (run / "metrics.jsonl").open()) if "evaluation_return" in row
    ]
    assert [row["evaluation_return"] for row in judged] == [0, 2, 7, 3]
    assert (result["evaluation_return"], result["best_evaluation_return"]) == (3, 7)
    assert (result["kept"], result["test_return"], result["last_test_return"]) == ("best", 20, 10)
    assert result["best_steps"] == judged[2]["world_steps"]
    assert "Kept: the best agent" in done.stderr
    cards = {
        name: json.loads((run / name / "agent.json").read_text()) for name in ("best", "model")
    }
    assert [(card["world_steps"], card["evaluation_return"]) for card in cards.values()] == [
        (judged[2]["world_steps"], 7),
        (260, 3),
    ]
    weights = [load_file(run / name / "model.safetensors") for name in ("best", "model")]
    assert not all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    lineage = json.loads((run / "lineage.json").read_text())
    assert [Path(each["path"]).name for each in lineage["data"]] == ["pays.py"]
    for which, steps in (("best", result["best_steps"]), ("last", 260)):
        played = cli(f"play run which={which} episodes=3 --json", folder=tmp_path).result
        assert (played["which"], played["trained_steps"], played["lengths"]) == (
            which,
            steps,
            [8, 8, 8],
        )


def test_where_the_last_is_the_best_there_is_no_other(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pays.py").write_text(PAYS.replace("[0, 2, 7, 3, 10, 20]", "[0, 2, 7, 7, 10, 20]"))
    words = (
        f"control {QUICK} world=./pays.py:World steps=260 evaluate_every=64 evaluation_episodes=1 "
        "out=run"
    )
    result = cli(f"{words} --json", folder=tmp_path).result
    assert (result["kept"], result["test_return"], result["best_steps"]) == ("last", 10, 260)
    assert not (tmp_path / "run" / "best").exists()
    assert cli("play run --json", folder=tmp_path).result["which"] == "last"


@pytest.mark.parametrize(("size", "far"), [("5e4", True), ("1e-3", True), ("1.0", False)])
def test_observations_far_from_one_are_named_unless_they_are_normalised(
    size: str, far: bool, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "far.py").write_text(
        PAYS.replace("self.count / 8, np.float32), pay", f"{size}, np.float32), pay")
    )
    words = (
        f"control {QUICK} world=./far.py:World steps=40 evaluation_episodes=1 algorithm=dqn "
        "learning_starts=8"
    )
    plain = cli(f"{words} out=plain", folder=tmp_path)
    assert ("give normalise=true" in plain.stdout) == far, plain.stdout
    assert plain.stdout.count("normalise=true") <= 1
    normal = cli(f"{words} normalise=true out=normal", folder=tmp_path)
    assert normal.code == 0, normal.stderr
    assert "give normalise=true" not in normal.stdout


TABLES_AND_WORKERS = ("q_learning", "async")


@pytest.mark.parametrize(
    ("algorithm", "steps"),
    [("ppo", 16), ("ppo", 257), ("dqn", 100), ("q_learning", 300), ("async", 257)],
)
def test_a_run_makes_as_many_steps_as_were_asked_for(
    algorithm: str, steps: int, cli: Cli, tmp_path: Path
) -> None:
    words = (
        f"control {BRIEF if algorithm in TABLES_AND_WORKERS else QUICK} algorithm={algorithm} "
        f"world=gridworld steps={steps} "
        f"evaluation_episodes=2{' learning_starts=8' if algorithm == 'dqn' else ''}"
    )
    result = cli(f"{words} workers=1 evaluate_every=0 out=run --json", folder=tmp_path).result
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    taken = [row["steps_taken"] for row in rows if "steps_taken" in row]
    assert result["steps"] == sum(taken) == steps
    assert rows[-1]["world_steps"] == steps
    listed = cli("runs . --json", folder=tmp_path).result["runs"]
    assert listed[0]["steps"] == steps


def test_an_agent_is_played_filmed_and_goes_on_in_another_run(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    assert (
        cli(
            f"control {QUICK} algorithm=dqn learning_starts=32 normalise=true steps=200 out=one",
            folder=tmp_path,
        ).code
        == 0
    )
    first = cli("play one episodes=4 seed=5 --json", folder=tmp_path).result
    assert cli("play one episodes=4 seed=5 --json", folder=tmp_path).result == first
    low, high = first["interval"]
    assert low <= first["mean_return"] == sum(first["returns"]) / 4 <= high
    filmed = cli("play one which=last film=films/a.html", folder=tmp_path)
    assert "is filmed in films/a.html" in filmed.stdout
    assert "data:image/png;base64," in (tmp_path / "films" / "a.html").read_text()
    second = cli(
        f"control {QUICK} algorithm=dqn learning_starts=32 normalise=true steps=100 base=one "
        "out=two --json",
        folder=tmp_path,
    ).result
    ends = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert second["steps"] == 100
    rows = [
        json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    ]
    assert next(row["epsilon"] for row in rows if "epsilon" in row) == pytest.approx(0.04)
    assert ends["steps"] == 200
    assert (
        json.loads((tmp_path / "two" / "lineage.json").read_text())["parents"][0]["path"]
        == "../one"
    )
    wrong = {
        "play one film=a.gif": "a film is an animated .png, or an .html page",
        "play nothing": "is not a run",
        "play one which=first": "which=first cannot be",
        "control base=one world=Acrobot-v1": "was trained in CartPole-v1, and this is Acrobot-v1",
        "control base=one algorithm=ppo": (
            "holds an agent of another version of fledge or of CartPole-v1"
        ),
    }
    for words, said in wrong.items():
        assert said in cli(words, folder=tmp_path).complaint
