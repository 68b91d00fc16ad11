"""What a recipe reports is measured on what it was not trained on, or it says that nothing is."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.cli.commands import PREFER, REWARD, Cli, Models

from fledge.splits import SPLITS


def pairs_file(path: Path, different: int, copies: int) -> None:
    """Random letters, so that nothing can be learned of one pair from another."""
    draw = random.Random(different)
    word = lambda: "".join(draw.choices("abcdefgh", k=6))  # noqa: E731
    rows = [
        {"prompt": f"say {i}", "chosen": word(), "rejected": word()} for i in range(different)
    ] * copies
    draw.shuffle(rows)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))


def test_pairs_that_came_twice_are_not_tested_on_what_was_learned(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    pairs_file(tmp_path / "pairs.jsonl", 60, 20)
    words = models.fill(REWARD.replace("{pairs}", "pairs.jsonl"))
    summary = cli([*words, "--json"], folder=tmp_path).result
    held_out = summary["held_out"]
    assert set(held_out) == set(SPLITS[1:])
    # copies count once
    assert summary["pairs"] == 20 * (60 - held_out["validation"] - held_out["test"])
    assert 0 <= summary["test"]["pair_accuracy"] <= 1


def test_a_few_pairs_many_times_are_too_few_to_hold_out(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    pairs_file(tmp_path / "pairs.jsonl", 12, 50)
    for command in (REWARD, PREFER):
        words = models.fill(command.replace("{pairs}", "pairs.jsonl"))
        done = cli([*words, f"out={command.split()[0]}"], folder=tmp_path)
        assert done.code == 0, done.stderr
        assert "answer 12 different prompts, too few to hold some out" in done.stdout
        assert "%" not in done.stdout  # no figure that was measured on what was trained on


def test_a_task_says_how_many_different_prompts_it_was_asked(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "few.jsonl").write_text(
        "".join(json.dumps({"prompt": f"say {i}", "answer": "yes"}) + "\n" for i in range(40))
    )
    command = "evaluate {tune} task=few.jsonl prompts=200 max_new_tokens=4"
    done = cli(models.fill(command), folder=tmp_path)
    number = cli([*models.fill(command), "--json"], folder=tmp_path).result["prompts"]
    assert 1 <= number <= 10
    assert f"on {number} " in done.stdout or number == 1
    assert "200" not in done.stdout
