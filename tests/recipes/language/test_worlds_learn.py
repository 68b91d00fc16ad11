"""What `fledge align` comes to in worlds of text, by the commands that docs/text-worlds.md shows:
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
SECTION = PAGE.split("## An agent of minutes")[1].split("\n## ")[0]
MOST_PARAMETERS = 600_000


def list_commands(world: str) -> dict[str, list[str]]:
    """The words of the section's commands by their verb, those of one world and those of all."""
    blocks = "".join(SECTION.split("```")[1::2]).replace("\\\n", " ")
    lines = re.findall(r"^fledge ([^#\n]+)", blocks, re.MULTILINE)
    chosen = [shlex.split(line) for line in lines if f"task={world}" in line or "task=" not in line]
    return {words[0]: words for words in chosen}


def change(words: list[str], **fields: object) -> list[str]:
    """The command with other values of these fields."""
    kept = [word for word in words if word.partition("=")[0] not in fields]
    return [*kept, *(f"{name}={value}" for name, value in fields.items())]


def run(folder: Path, words: list[str]) -> str:
    done = process(*words, folder=folder)
    assert done.code == 0, done.stderr
    return done.stdout


def measure(folder: Path, world: str, base: str) -> float:
    """The share of 200 games of the test part, answered greedily, that reach their goal."""
    words = change(list_commands(world)["evaluate"], base=base)
    told = json.loads(run(folder, [*words, "--json"]))
    assert told["prompts"] == 200
    return told["exact_match"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the model that has read the transcripts, which all runs share."""
    place = tmp_path_factory.mktemp("worlds")
    [source] = [block for block in python_blocks(PAGE) if block.startswith("# talks.py")]
    (place / "talks.py").write_text(source)
    assert process(folder=place, module=("talks.py",)).code == 0
    read = change(list_commands("household:1")["pretrain"], out="read")
    run(place, read)
    summary = json.loads((place / "read" / "summary.json").read_text())
    assert summary["parameters"] <= MOST_PARAMETERS
    return place


@pytest.mark.slow
@pytest.mark.parametrize("world", ["household:1", "shell:1"])
def test_agents_of_minutes_learn_their_world_by_align(world: str, folder: Path) -> None:
    """Of three seeds of `align`, which share what was imitated before: that reaches the goal in 85
    of 100 games at most, and each agent in 90 at least. An agent of 96 in truth falls below 90 of
    100 in 200 games once in 16,000.
    """
    commands, told = list_commands(world), f"told-{world}"
    run(folder, change(commands["tune"], base="read", out=told))
    before = measure(folder, world, told)
    assert before <= 0.85
    for seed in range(3):
        agent = f"agent-{world}-{seed}"
        run(folder, change(commands["align"], base=told, seed=seed, out=agent))
        assert measure(folder, world, agent) >= 0.9, (seed, before)
