"""`fledge ladder`: every rung beside the exact answer, a page, and maps that are none."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import Cli

SOLVED = {
    "policy iteration",
    "value iteration",
    "Q-value iteration",
    "Gauss–Seidel",
    "prioritised sweeping",
}


def test_the_exact_agree_and_the_learners_come_near(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("..+\nS#-\n")
    done = cli("ladder map.txt samples=3000 slip=0 gamma=0.9 --json", folder=tmp_path)
    result = done.result
    assert {one["method"] for one in result["exact"]} == SOLVED
    assert all(one["distance"] < 1e-7 and one["lost_at_worst"] < 1e-9 for one in result["exact"])
    learned = {one["method"]: one for one in result["learned"]}
    assert set(learned) == {
        "q_learning",
        "sarsa",
        "expected_sarsa",
        "monte_carlo",
        "reinforce",
        "a2c",
        "trpo",
        "ppo",
        "dqn",
    }
    assert all(one["samples"] >= 3000 for one in learned.values())
    assert learned["q_learning"]["lost"] < 1e-9  # up, right, right: nothing slips
    # nobody is better than the best
    assert all(low >= -1e-12 for one in learned.values() for low in one["curve"][1])
    page = (tmp_path / "ladder.html").read_text()
    assert page.count('<svg viewBox="0 0 400 220"') == 2
    assert "data:image/svg+xml;base64," in page
    assert "↑" in done.stderr  # the arrows, for a person


def test_a_map_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("..+\n.x-\n")
    wrong = cli("ladder map.txt", folder=tmp_path)
    assert wrong.code == 2
    assert "line 2, column 2 of the map is 'x'" in wrong.stderr
    missing = cli("ladder nowhere.txt", folder=tmp_path)
    assert missing.code == 2
    assert "nowhere.txt cannot be read" in missing.stderr
    world = cli("control algorithm=q_learning world=gridworld:map.txt out=run", folder=tmp_path)
    assert "line 2, column 2" in world.stderr
