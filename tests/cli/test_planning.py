"""`fledge control` with algorithms that look ahead, as a user meets them: they run, find what
chance does not, say how well the world is foretold, and play.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import CONTROL_DREAMER, CONTROL_MPC, Cli

QUICK = "evaluation_episodes=2 pictures=false"


def test_a_learned_world_is_judged_and_drawn(cli: Cli, tmp_path: Path) -> None:
    done = cli(f"{CONTROL_MPC} out=run --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    world = json.loads((tmp_path / "run" / "summary.json").read_text())["learned_world"]
    assert world["steps"][0] == 1
    assert len(world["error"]) == len(world["copied"]) == len(world["steps"])
    assert all(0 <= share <= 1 for share in world["within"])
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert any("foretold_within_90" in row for row in rows)
    assert cli("report run out=page.html", folder=tmp_path).code == 0
    page = (tmp_path / "page.html").read_text()
    assert "Error over the horizon" in page
    assert "Calibration" in page
    played = cli("play run episodes=3 --json", folder=tmp_path)
    assert played.code == 0, played.stderr
    assert played.result["algorithm"] == "mpc"


@pytest.mark.parametrize("planner", ["cem", "mppi", "shooting"])
def test_the_true_world_is_looked_ahead_in(planner: str, cli: Cli, tmp_path: Path) -> None:
    """Always right through the sea of four: with a horizon of four nothing needs to be learned."""
    done = cli(
        f"control {QUICK} algorithm=mpc model=true terminal_value=false planner={planner} "
        "world=deep_sea:4 horizon=4 candidates=200 steps=260 out=run --json",
        folder=tmp_path,
    )
    assert done.code == 0, done.stderr
    assert done.result["test_return"] == pytest.approx(0.99)


@pytest.mark.parametrize(
    "algorithm", ["dyna initial_value=1", "psrl", "prioritised_sweeping initial_value=1"]
)
def test_counted_worlds_find_what_chance_does_not(algorithm: str, cli: Cli, tmp_path: Path) -> None:
    """Five deep, 300 dives; ε-greedy Q-learning comes to the prize in none (seed 0)."""
    words = f"control {QUICK} world=deep_sea:5 steps=1500 copies=1 steps_per_batch=6"
    done = cli(f"{words} algorithm={algorithm} out=run --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert done.result["test_return"] == pytest.approx(0.99)


def test_pictures_are_learned_from_and_played(cli: Cli, tmp_path: Path) -> None:
    done = cli(f"{CONTROL_DREAMER} out=run --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert {"imagined_return", "seen_nats"} <= set(
        json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-3])
    )
    world = json.loads((tmp_path / "run" / "summary.json").read_text())["learned_world"]
    assert len(world["error"]) == len(world["copied"]) == len(world["steps"]) > 0
    assert "within" not in world  # it says no spread of what is seen
    assert cli("report run out=page.html", folder=tmp_path).code == 0
    page = (tmp_path / "page.html").read_text()
    assert "Error over the horizon" in page
    assert "Calibration" not in page
    played = cli("play run episodes=2 --json", folder=tmp_path)
    assert played.code == 0, played.stderr


def test_help_shows_the_fields_of_the_planner(cli: Cli, tmp_path: Path) -> None:
    said = cli("control algorithm=mpc --help", folder=tmp_path).stdout
    for field in ("planner", "horizon", "members", "terminal_value", "novelty"):
        assert field in said
    assert "planning_steps" in cli("control algorithm=dyna --help", folder=tmp_path).stdout
