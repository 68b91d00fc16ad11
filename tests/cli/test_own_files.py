"""The whole chain on a user's own files: text, conversations, preferences and a task of their own,
then talk to the result.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Cli

SIZES = (
    "tokenizer=bpe vocab_size=300 layers=1 width=16 heads=2 context=128 tokens_per_step=512 "
    "precision=fp32 compile=no"
)
RL = (
    "steps=4 prompts_per_step=8 samples_per_prompt=2 max_new_tokens=8 evaluation_prompts=8 "
    "precision=fp32 compile=no algorithm=ppo critic=separate kl_target=0.5 ptx_coefficient=0.1 "
    "ptx_data=texts ptx_tokens_per_step=256"
)
COLOURS = ("red", "green", "blue", "violet", "orange")
THINGS = ("apple", "sky", "grass", "ship", "hat", "door")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's files, of every kind that fledge reads."""
    here = tmp_path_factory.mktemp("user")
    texts = here / "texts"
    (texts / "more").mkdir(parents=True)
    sentences = [
        f"The {thing} is {colour}, as every {thing} should be."
        for thing in THINGS
        for colour in COLOURS
    ]
    (texts / "one.txt").write_text("\n".join(sentences))
    (texts / "two.md").write_text("# Colours\n\n" + " ".join(reversed(sentences)))
    (texts / "more" / "three.jsonl").write_text(
        "".join(json.dumps({"text": s * 3}) + "\n" for s in sentences)
    )
    with gzip.open(texts / "more" / "four.txt.gz", "wt") as file:
        file.write("\n".join(sentence.upper() for sentence in sentences))
    asked = [
        (f"colour of {thing} {number}?", COLOURS[(i + number) % 5])
        for i, thing in enumerate(THINGS)
        for number in range(5)
    ]
    write(
        here / "my.jsonl",
        [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in asked
        ],
    )
    write(
        here / "pairs.jsonl",
        [{"prompt": q, "chosen": a, "rejected": "who knows"} for q, a in asked],
    )
    write(here / "mine.jsonl", [{"prompt": q, "answer": a} for q, a in asked])
    (here / "mine.py").write_text(
        "import json\nrows = [json.loads(line) for line in open('mine.jsonl')]\n"
        "def prompts():\n    return [row['prompt'] for row in rows]\n"
        "def score(prompt, completion):\n    return float(any(c in completion for c in 'aeiou'))\n"
    )
    return here


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_chain_on_a_users_own_files(cli: Cli, folder: Path) -> None:
    def run(command: str, stdin: str | None = None) -> dict[str, Any]:
        return cli(f"{command} --json", folder=folder, stdin=stdin).result

    base = run(f"pretrain data=texts out=base steps=30 {SIZES}")
    assert base["after"]["validation_bits_per_byte"] < base["before"]["validation_bits_per_byte"]
    tuned = run(
        "tune base=base data=my.jsonl out=tuned steps=30 rows_per_step=8 precision=fp32 compile=no"
    )
    assert tuned["after"]["validation_loss"] < tuned["before"]["validation_loss"]
    judge = run(
        "reward base=tuned data=pairs.jsonl out=judge steps=20 pairs_per_step=8 precision=fp32 "
        "compile=no"
    )
    assert judge["after"]["pair_accuracy"] > 0.5
    for task, out, reward in (
        ("./mine.py", "a", "reward=judge"),
        ("./mine.jsonl", "b", "reward=judge"),
        ("mine.py", "c", ""),
    ):
        aligned = run(f"align base=tuned task={task} out={out} {reward} {RL}")
        assert aligned["steps"] == 4
        figures = [
            json.loads(line) for line in (folder / out / "metrics.jsonl").read_text().splitlines()
        ]
        assert all("pretraining_loss" in row for row in figures if "kl_k1" in row)
        assert len({row["kl_coefficient"] for row in figures if "kl_k1" in row}) > 1  # steered
        assert "validation_loss" in figures[0]
    hashed = {
        Path(each["path"]).name
        for each in json.loads((folder / "a" / "lineage.json").read_text())["data"]
    }
    assert hashed == {"mine.py", "one.txt", "two.md", "three.jsonl", "four.txt.gz"}
    assert (
        0
        < run("evaluate a data=texts whole=true task=./mine.jsonl prompts=6 max_new_tokens=8")[
            "bits_per_byte"
        ]
        < 20
    )
    talk = run("chat a history=true max_new_tokens=5", "colour of hat 1?\nand of the door?\n")
    assert [turn["role"] for turn in talk["messages"]] == ["user", "assistant"] * 2
    listed = {row["run"]: row for row in run("runs .")["runs"]}
    assert set(listed) == {"base", "tuned", "judge", "a", "b", "c"}
    assert {Path(parent).name for parent in listed["a"]["parents"]} == {"tuned", "judge"}
    assert (folder / run("report a")["report"]).stat().st_size > 10_000


def test_a_base_can_be_trained_on(cli: Cli, folder: Path) -> None:
    first = cli(f"pretrain data=texts out=first steps=5 {SIZES}", folder=folder)
    assert first.code == 0, first.stderr
    done = cli(
        "pretrain base=first data=texts/two.md out=second steps=5 tokens_per_step=512 "
        "row_tokens=64 precision=fp32 --json",
        folder=folder,
    )
    assert done.result["steps"] == 5


def test_a_run_can_be_resumed_from_its_own_folder_name_with_a_slash(cli: Cli, folder: Path) -> None:
    words = f"pretrain data=texts out=deep/er/run steps=200 {SIZES}"
    stopped = cli(words, folder=folder, signal=15, once=folder / "deep/er/run/metrics.jsonl")
    assert stopped.stderr.endswith("Continue with: fledge resume deep/er/run\n")
    assert cli("resume deep/er/run/", folder=folder).code == 0
