"""The command line in real processes, and one tiny model of each kind that the tests start from."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from tests.cli.commands import PRETRAIN, REWARD, TUNE, Cli, Models


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    with Cli() as started:
        yield started


@pytest.fixture(scope="session")
def models(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Made once: text, rows, pairs, points, walks, a task file, and the runs pretrain, tune and
    reward. Tests only read them.
    """
    folder = tmp_path_factory.mktemp("models")
    draw = random.Random(5)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "while",
        "seven",
        "birds",
        "sang",
        "over",
        "green",
        "hills",
        "and",
        "old",
        "rivers",
    ]
    lines = [" ".join(draw.choices(words, k=9)) + "." for _ in range(300)]
    (folder / "text.txt").write_text("\n".join(lines))
    rows = [
        {"prompt": f"{a} {b}", "completion": b}
        for a, b in zip(lines[::2], words * 10, strict=False)
    ]
    # A byte is a token, and <|begin|>, two roles and two <|end|> stand around them: all of it fits
    # the context of 64.
    rows = [row for row in rows if len(row["prompt"]) + len(row["completion"]) + 5 <= 64]
    pairs = [
        {"prompt": a[:9], "chosen": draw.choice(words), "rejected": "?" * draw.randint(1, 4)}
        for a in lines[:60]
    ]
    for name, several in (("rows.jsonl", rows), ("pairs.jsonl", pairs)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in several))
    (folder / "letters.py").write_text(
        "def prompts():\n    return ['say ' + a + b + c for a in 'abcdef' for b in 'uvwxyz' for c "
        "in 'abcdefghijklmnopqrst']\ndef score(prompt, completion):\n    return sum(c.islower() "
        "for c in completion) / max(1, len(completion))\n"
    )
    middles = [(0, 0), (4, 1), (1, 5)]
    points = [(x + draw.gauss(0, 1), y + draw.gauss(0, 1)) for x, y in draw.choices(middles, k=240)]
    (folder / "points.csv").write_text("a,b\n" + "".join(f"{x},{y}\n" for x, y in points))
    steps, place = ["walk,x,y\n"], 0.0
    for number in range(300):
        place = 0.9 * place + draw.gauss(0, 1)
        walk = f"w{number // 12:02}"
        steps.append(f"{walk},{place + draw.gauss(0, 0.3)},{draw.gauss(0, 0.3) - place}\n")
    (folder / "walks.csv").write_text("".join(steps))
    made = Models(folder)
    for command in (PRETRAIN, TUNE, REWARD):
        done = cli([*made.fill(command), f"out={command.split()[0]}"], folder=folder)
        assert done.code == 0, done.stderr
    return made
