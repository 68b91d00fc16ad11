"""A run that is continued on other inputs than it was started from is refused, and goes on only
where that is accepted.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.commands import (
    ALIGN,
    CONTROL_TABLE,
    DISTILL,
    PPO,
    PREFER,
    PRETRAIN,
    TUNE,
    Cli,
    Models,
    outcome,
)

from fledge.text.tokenizer import train_tokenizer

MINE = (
    "from fledge.algorithms.policy.reinforce import Reinforce\nclass Mine(Reinforce):\n    pass\n"
)
TASK = (
    "from alphabet import LETTERS\ndef prompts():\n    return ['say ' + a + b for a in LETTERS for "
    "b in 'uvwxyz']\n"
)
TASK += (
    "def score(prompt, completion):\n    return sum(c.islower() for c in completion) / max(1, "
    "len(completion))\n"
)
MAP = "...+\n.#.-\nS...\n"


def turned_round(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def flipped(file: Path) -> None:
    """One bit of the last number."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def another(file: Path) -> None:
    file.with_name("another.txt").write_text("Another text.\n")


# What is started, which file is changed, and how.
CHANGES: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "tune: the rows": (f"{TUNE} data=rows.jsonl", "rows.jsonl", longer),
    "tune: the base": (f"{TUNE} base=tune", "tune/model/model.safetensors", flipped),
    "prefer: the pairs": (f"{PREFER} data=pairs.jsonl", "pairs.jsonl", turned_round),
    "distill: the teacher": (f"{DISTILL} teacher=tune", "tune/model/model.safetensors", flipped),
    "align: the task": (f"{ALIGN} task=letters.py", "letters.py", longer),
    "align: what the task imports": (f"{ALIGN} task=letters.py", "alphabet.py", longer),
    "align: the reward model": (
        f"{ALIGN} reward=reward",
        "reward/model/model.safetensors",
        flipped,
    ),
    "align: an algorithm": (f"{ALIGN} algorithm=./mine.py:Mine", "mine.py", longer),
    "control: the map": (f"{CONTROL_TABLE} world=gridworld:map.txt", "map.txt", longer),
}


@pytest.fixture
def work(models: Models, tmp_path: Path) -> Path:
    """A folder of the user's with copies of everything that a run may start from."""
    folder = tmp_path / "work"
    (folder / "corpus").mkdir(parents=True)
    for name in ("corpus/text.txt", "corpus/text-2.txt"):
        shutil.copy(models.folder / "text.txt", folder / name)
    for name in ("rows.jsonl", "pairs.jsonl"):
        shutil.copy(models.folder / name, folder / name)
    for name in ("tune", "reward"):
        shutil.copytree(models.folder / name, folder / name)
    for name, text in {
        "letters.py": TASK, "alphabet.py": "LETTERS = 'abcdef'\n", "mine.py": MINE, "map.txt": MAP,
    }.items():  # fmt: skip
        (folder / name).write_text(text)
    return folder


def begun(cli: Cli, words: list[str], folder: Path) -> Path:
    """A run that was killed when it had its first checkpoint."""
    run = folder / "run"
    once = run / "checkpoints" / "00000001"
    killed = cli(
        [*words, "save_every_s=0", "out=run"], folder=folder, signal=signal.SIGKILL, once=once
    )
    assert killed.code == -signal.SIGKILL, killed
    return run


OFTEN = (
    "tune: the rows",
    "align: what the task imports",
    "align: an algorithm",
    "control: the map",
)


@pytest.mark.parametrize(
    "change",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in CHANGES],
)
def test_what_has_changed_is_named_and_goes_on_only_if_accepted(
    change: str, cli: Cli, models: Models, work: Path
) -> None:
    command, name, spoil = CHANGES[change]
    run = begun(cli, models.fill(command), work)
    before = {
        file: file.read_bytes()
        for file in run.rglob("*")
        if file.is_file() and file.name != ".lock"
    }
    spoil(work / name)
    refused = cli("resume run", folder=work).complaint
    assert refused.startswith(f"{name} ") or f"{name} (" in refused
    assert "accept_changes=true" in refused
    assert {file: file.read_bytes() for file in before} == before
    accepted = cli("resume run accept_changes=true", folder=work)
    # a base that does not have the bits it was finished with is no base at all
    if "model.safetensors" in name:
        assert "is not what the run wrote" in accepted.complaint
        return
    assert accepted.code == 0, accepted.stderr
    (taken,) = json.loads((run / "lineage.json").read_text())["accepted"]
    assert taken["path"] == name
    assert taken["was"] != taken["now"]
    # what was accepted is what it is held against from then on
    assert cli("resume run", folder=work).code == 0


ON_TEXT = (
    "distill teacher={tune} layers=1 width=8 heads=2 steps=8 rows_per_step=8 evaluate_every=4 "
    "evaluation_rows=8 precision=fp32 compile=no"
)
PPO_ON_TEXT = f"{PPO} ptx_coefficient=0.5 ptx_tokens_per_step=128"

# What is started, which file is changed, and how: of all of them the run keeps a copy.
COPIED: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "pretrain: the text": (f"{PRETRAIN} data=corpus", "corpus/text.txt", longer),
    "pretrain: a new file": (f"{PRETRAIN} data=corpus", "corpus/another.txt", another),
    "pretrain: a file less": (f"{PRETRAIN} data=corpus", "corpus/text-2.txt", Path.unlink),
    "pretrain: the tokenizer": (
        f"{PRETRAIN} tokenizer=letters",
        "letters/tokenizer.json",
        Path.unlink,
    ),
    "distill: the text": (f"{ON_TEXT} data=corpus", "corpus/text.txt", longer),
    "align: the text beside": (f"{PPO_ON_TEXT} ptx_data=corpus", "corpus/text.txt", longer),
}
MOST = ("pretrain: the tokenizer",)


@pytest.mark.parametrize(
    "change",
    [pytest.param(name, marks=() if name in MOST else pytest.mark.slow) for name in COPIED],
)
def test_what_the_run_has_a_copy_of_may_change_and_its_lineage_says_what_was_read(
    change: str, cli: Cli, models: Models, work: Path
) -> None:
    command, name, spoil = COPIED[change]
    train_tokenizer("characters", [(work / "corpus/text.txt").read_text()]).save(work / "letters")
    words = [*models.fill(command), "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=work).code == 0
    run = begun(cli, words, work)
    lineage = (run / "lineage.json").read_bytes()
    spoil(work / name)
    resumed = cli("resume run", folder=work)
    assert resumed.code == 0, resumed.stderr
    (said,) = [line for line in resumed.stdout.splitlines() if line.startswith(name)]
    assert said.endswith(": run goes on with the copy in its shards/, which is whole.")
    assert (run / "lineage.json").read_bytes() == lineage
    assert outcome(run) == outcome(work / "whole")


def test_a_base_that_was_trained_again_is_named(cli: Cli, models: Models, work: Path) -> None:
    assert cli([*models.fill(TUNE), "steps=3", "out=base"], folder=work).code == 0
    run = begun(cli, models.fill(f"{ALIGN} base=base"), work)
    shutil.rmtree(work / "base")
    assert cli([*models.fill(TUNE), "steps=4", "out=base"], folder=work).code == 0
    assert "base/model/model.safetensors has changed" in cli("resume run", folder=work).complaint
    assert cli("resume run accept_changes=true", folder=work).code == 0
    lineage = json.loads((run / "lineage.json").read_text())
    assert [taken["path"] for taken in lineage["accepted"]] == ["base/model/model.safetensors"]
    assert lineage["parents"][0]["model_sha256"] == lineage["accepted"][0]["now"]


def test_names_are_meant_from_where_the_run_was_started(
    cli: Cli, models: Models, work: Path, tmp_path: Path
) -> None:
    words = [*models.fill(f"{TUNE} data=rows.jsonl base=tune"), "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=work).code == 0
    run = begun(cli, words, work)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(work, elsewhere, ignore=shutil.ignore_patterns("run", "whole"))
    turned = (elsewhere / "rows.jsonl").read_text().replace("the", "THE")
    (elsewhere / "rows.jsonl").write_text(turned)
    resumed = cli("resume ../work/run", folder=elsewhere)
    assert resumed.code == 0, resumed.stderr
    assert outcome(run) == outcome(work / "whole")


def test_a_project_that_was_moved_goes_on_where_it_is_now(
    cli: Cli, models: Models, work: Path, tmp_path: Path
) -> None:
    words = [*models.fill(f"{TUNE} data=rows.jsonl base=tune"), "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=work).code == 0
    begun(cli, words, work)
    moved = work.rename(tmp_path / "moved")
    (tmp_path / "empty").mkdir()
    lost = cli("resume ../moved/run", folder=tmp_path / "empty").complaint
    assert f"where the run was started ({work}), is gone" in lost or str(work) in lost
    assert cli("resume run", folder=moved).code == 0
    assert outcome(moved / "run") == outcome(moved / "whole")


def test_a_lineage_of_an_earlier_version_is_held_against_what_is_there(
    cli: Cli, models: Models, work: Path
) -> None:
    run = begun(cli, models.fill(f"{TUNE} data=rows.jsonl base=tune"), work)
    lineage = json.loads((run / "lineage.json").read_text())
    for name in ("id", "started_in", "inputs", "threads"):
        del lineage[name]
    (run / "lineage.json").write_text(json.dumps(lineage))
    longer(work / "rows.jsonl")
    assert cli("resume run", folder=work).complaint.startswith("rows.jsonl has changed")
    assert cli("resume run accept_changes=true", folder=work).code == 0
