"""What somebody who is new to it stumbles over is said in a sentence, before time is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models


def write_rows(place: Path, number: int) -> str:
    """Pairs, or conversations, of so many different prompts."""
    rows = [{"prompt": f"say {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(number)]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(place)


@pytest.mark.parametrize("verb", ["prefer", "reward"])
def test_too_few_pairs_are_said_before_a_model_is_looked_for(
    verb: str, cli: Cli, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", 3)
    done = cli(f"{verb} base=nowhere data={data}", folder=tmp_path)
    assert done.complaint == f"{data} has 3 rows: 8 or more are needed."


def test_few_that_are_held_out_are_said(cli: Cli, models: Models, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", 40)
    words = models.fill(
        f"prefer base={{tune}} data={data} steps=1 pairs_per_step=4 precision=fp32 compile=no"
    )
    done = cli(words, folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "are held out, one in twenty each, and a figure of so few says little" in done.stdout
    assert "% possible)" in done.stdout


def test_an_agents_run_is_no_model_and_plays(cli: Cli, tmp_path: Path) -> None:
    words = "control world=gridworld algorithm=q_learning steps=200 pictures=false out=agent"
    done = cli(words, folder=tmp_path)
    assert done.code == 0, done.stderr
    for verb in ("chat", "sample"):
        said = cli(f"{verb} agent", folder=tmp_path).complaint
        assert said.endswith("it is an agent's run, and `fledge play agent` shows what it does.")


def test_two_words_the_other_way_round(cli: Cli, tmp_path: Path) -> None:
    done = cli("show tokenizer runs/pretrain", folder=tmp_path)
    assert done.complaint == "there is no verb `show tokenizer`: it is `fledge tokenizer show`."


def test_an_export_says_in_what_it_is_written(cli: Cli, models: Models, tmp_path: Path) -> None:
    done = cli(models.fill("export {tune} out=there"), folder=tmp_path)
    assert "as hf in f32 → there" in done.stdout


def test_an_evaluation_tells_the_score_and_of_how_many(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "points.py").write_text(
        "def prompts():\n    return ['say ' + a + b for a in 'abcdefgh' for b in 'uvwxyz']\n"
        "def score(prompt, completion):\n    return 0.25\n"
    )
    said = cli(models.fill("evaluate {tune} task=points.py max_new_tokens=4"), folder=tmp_path)
    assert "score 0.000, 0.0% right, on 1 prompt of the test part" in said.stdout
