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
SECTION = PAGE.split("## An agent of minutes")[1].split("\n## ")[0]
MOST_PARAMETERS = 600_000


def list_commands() -> dict[str, list[str]]:
    """The words of the section's commands by their verb."""
    blocks = "".join(SECTION.split("```")[1::2]).replace("\\\n", " ")
    lines = re.findall(r"^fledge ([^#\n]+)", blocks, re.MULTILINE)
    return {line.split()[0]: shlex.split(line) for line in lines}


def run(folder: Path, verb: str, *also: str, **fields: object) -> str:
    """The section's command of this verb, with other values of these fields."""
    kept = [word for word in list_commands()[verb] if word.partition("=")[0] not in fields]
    given = [f"{name}={value}" for name, value in fields.items()]
    done = process(*kept, *given, *also, folder=folder)
    assert done.code == 0, done.stderr
    return done.stdout


def measure(folder: Path, base: str) -> float:
    """The share of 200 games of the test part, answered greedily, that reach their goal."""
    told = json.loads(run(folder, "evaluate", "--json", base=base))
    assert told["prompts"] == 200
    return told["exact_match"]


@pytest.mark.slow
def test_agents_of_minutes_learn_the_shell_by_align(tmp_path: Path) -> None:
    """Of three seeds of `align`, which share what was imitated before: that reaches the goal in 85
    of 100 games at most, and each agent in 90 at least. An agent of 96 in truth falls below 90 of
    100 in 200 games once in 16,000.
    """
    [source] = [block for block in python_blocks(PAGE) if block.startswith("# talks.py")]
    (tmp_path / "talks.py").write_text(source)
    assert process(folder=tmp_path, module=("talks.py",)).code == 0
    run(tmp_path, "pretrain")
    summary = json.loads((tmp_path / "runs" / "read" / "summary.json").read_text())
    assert summary["parameters"] <= MOST_PARAMETERS
    run(tmp_path, "tune")
    before = measure(tmp_path, "runs/told")
    assert before <= 0.85
    for seed in range(3):
        run(tmp_path, "align", seed=seed, out=f"runs/agent-{seed}")
        assert measure(tmp_path, f"runs/agent-{seed}") >= 0.9, (seed, before)
