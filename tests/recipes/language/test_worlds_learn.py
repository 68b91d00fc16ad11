"""What `fledge align` comes to in a world of text, by the commands that docs/text-worlds.md shows:
agents of minutes, judged in games that none was trained on.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.commands import process
from tests.docs.test_python import python_blocks

PAGE = (Path(__file__).resolve().parents[3] / "docs/text-worlds.md").read_text(encoding="utf-8")
MOST_PARAMETERS = 600_000


def list_commands() -> dict[str, list[str]]:
    """The words of the page's commands by the folder that each makes."""
    blocks = "".join(PAGE.split("```")[1::2]).replace("\\\n", " ")
    lines = [shlex.split(line) for line in re.findall(r"^fledge ([^#\n]+)", blocks, re.MULTILINE)]
    made = {word.removeprefix("out="): line for line in lines for word in line if "out=" in word}
    assert len(made) == sum("out=" in word for line in lines for word in line)
    return made


def run(folder: Path, made: str, **fields: object) -> None:
    """The page's command that makes this folder, with other values of these fields."""
    kept = [word for word in list_commands()[made] if word.partition("=")[0] not in fields]
    done = process(*kept, *(f"{name}={value}" for name, value in fields.items()), folder=folder)
    assert done.code == 0, done.stderr


def write_rows(folder: Path, file: str) -> None:
    """By the page's program of this name."""
    [source] = [block for block in python_blocks(PAGE) if block.startswith(f"# {file}:")]
    (folder / file).write_text(source)
    done = process(folder=folder, module=(file,))
    assert done.code == 0, done.stderr


def measure(folder: Path, base: str, task: str, **fields: object) -> float:
    """The share of 200 games of the test part, answered greedily, that reach their goal."""
    words = {"prompts": 200, "max_new_tokens": 16} | fields
    given = [f"{name}={value}" for name, value in words.items()]
    done = process("evaluate", f"base={base}", f"task={task}", *given, "--json", folder=folder)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["prompts"] == words["prompts"]
    return told["exact_match"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What has read the talks of both worlds, in runs/read."""
    place = tmp_path_factory.mktemp("worlds")
    write_rows(place, "talks.py")
    run(place, "runs/read")
    summary = json.loads((place / "runs" / "read" / "summary.json").read_text())
    assert summary["parameters"] <= MOST_PARAMETERS
    return place


@pytest.mark.slow
def test_agents_of_minutes_learn_the_shell_by_align(folder: Path) -> None:
    """Of three seeds of `align`, which share what was imitated before: that reaches the goal in 85
    of 100 games at most, and each agent in 90 at least. An agent of 96 in truth falls below 90 of
    100 in 200 games once in 16,000.
    """
    run(folder, "runs/told")
    before = measure(folder, "runs/told", "shell:1")
    assert before <= 0.85
    for seed in range(3):
        run(folder, "runs/agent", seed=seed, out=f"runs/agent-{seed}")
        assert measure(folder, f"runs/agent-{seed}", "shell:1") >= 0.9, (seed, before)


@pytest.mark.slow
def test_agents_of_minutes_learn_the_household_by_align(folder: Path) -> None:
    """As the shell, from slips that are put right."""
    write_rows(folder, "slips.py")
    run(folder, "runs/sought")
    run(folder, "runs/warned")
    before = measure(folder, "runs/warned", "household:1")
    assert before <= 0.85
    for seed in range(3):
        run(folder, "runs/housekeeper", seed=seed, out=f"runs/housekeeper-{seed}")
        assert measure(folder, f"runs/housekeeper-{seed}", "household:1") >= 0.9, (seed, before)


@pytest.mark.slow
def test_a_world_in_a_users_own_file_is_learned_by_align(tmp_path: Path) -> None:
    """Halving wins every game, and `align` ends early where 97 of 100 are won. An agent that wins
    97 in truth wins fewer than 88 of 100 once in 100,000.
    """
    [source] = [block for block in python_blocks(PAGE) if block.startswith("# guess.py:")]
    (tmp_path / "guess.py").write_text(source)
    for made in ("runs/letters", "runs/guesser", "runs/player"):
        run(tmp_path, made)
    won = {
        made: measure(tmp_path, made, "./guess.py", prompts=100, max_new_tokens=4)
        for made in ("runs/guesser", "runs/player")
    }
    assert won["runs/guesser"] < won["runs/player"], won
    assert won["runs/player"] >= 0.88, won
