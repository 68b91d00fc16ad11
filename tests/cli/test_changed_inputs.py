"""A run that is continued on other inputs than it was started from is refused, and goes on only
where that is accepted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.cli.commands import (
    ALIGN,
    CONTROL_PPO,
    CONTROL_SAC,
    CONTROL_TABLE,
    DISTILL,
    PPO,
    PREFER,
    PRETRAIN,
    REWARD,
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
    "prefer: the base": (f"{PREFER} base=tune", "tune/model/model.safetensors", flipped),
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


def moved_weights(weights: Path) -> None:
    """Others of the same shapes, as a base has that was trained for longer."""
    save_file({name: x + 0.01 for name, x in load_file(weights).items()}, weights)


# What begins from the folder `base` and reads its weights no more once it has a checkpoint.
BEGUN_FROM = {
    "tune": f"{TUNE} base=base",
    "pretrain": "pretrain data={text} base=base steps=8 tokens_per_step=256 evaluate_every=4 "
    "evaluation_rows=8 precision=fp32 compile=no",
    "reward": f"{REWARD} base=base",
    "prefer: simpo": f"{PREFER} base=base algorithm=simpo",
    "prefer: orpo": f"{PREFER} base=base algorithm=orpo",
    "distill: the student": f"{DISTILL} student=base".replace(
        "layers=1 width=8 heads=2 steps=8 ", "steps=8 "
    ),
}


@pytest.mark.parametrize(
    "verb",
    [pytest.param(v, marks=() if v == "tune" else pytest.mark.slow) for v in BEGUN_FROM],
)
def test_weights_that_a_run_began_from_may_change_once_a_checkpoint_holds_them_further_on(
    verb: str, cli: Cli, models: Models, work: Path
) -> None:
    shutil.copytree(models.folder / "tune" / "model", work / "base")
    words = [*models.fill(BEGUN_FROM[verb]), "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=work).code == 0
    run = begun(cli, words, work)
    before = json.loads((run / "lineage.json").read_text())
    weights = work / "base" / "model.safetensors"
    was = hashlib.sha256(weights.read_bytes()).hexdigest()
    moved_weights(weights)
    resumed = cli("resume run", folder=work)
    assert resumed.code == 0, resumed.stderr
    (said,) = [line for line in resumed.stdout.splitlines() if line.startswith("base/")]
    goes_on = "run goes on with the weights of its last checkpoint."
    assert said == f"base/model.safetensors has changed: {goes_on}"
    assert outcome(run) == outcome(work / "whole")
    lineage = json.loads((run / "lineage.json").read_text())
    (passed_over,) = lineage.pop("not_read")
    now = hashlib.sha256(weights.read_bytes()).hexdigest()
    named = (passed_over["path"], passed_over["was"], passed_over["now"])
    assert named == ("base/model.safetensors", was, now)
    assert lineage == before


# The weights are the base's again on resume: the reference's, or of whoever made the pairs.
READ_AGAIN = {
    "prefer: dpo": f"{PREFER} base=base",
    "prefer: kto": f"{PREFER} base=base algorithm=kto",
    "prefer: simpo with a task": "prefer base=base task={letters} algorithm=simpo pairs=64 steps=8 "
    "pairs_per_step=8 max_new_tokens=8 evaluation_prompts=8 precision=fp32 compile=no",
    "reward with a task": "reward base=base task={letters} pairs=64 steps=8 pairs_per_step=8 "
    "max_new_tokens=8 precision=fp32 compile=no",
    "align": f"{ALIGN} base=base",
    "distill: the teacher": f"{DISTILL} teacher=base",
    "distill: teacher and student": f"{DISTILL} teacher=base student=base".replace(
        "layers=1 width=8 heads=2 steps=8 ", "steps=8 "
    ),
}


@pytest.mark.parametrize(
    "verb",
    [pytest.param(v, marks=() if v == "prefer: dpo" else pytest.mark.slow) for v in READ_AGAIN],
)
def test_weights_that_are_read_again_may_not_change(
    verb: str, cli: Cli, models: Models, work: Path
) -> None:
    shutil.copytree(models.folder / "tune" / "model", work / "base")
    run = begun(cli, models.fill(READ_AGAIN[verb]), work)
    before = (run / "lineage.json").read_bytes()
    moved_weights(work / "base" / "model.safetensors")
    refused = cli("resume run", folder=work).complaint
    assert refused.startswith("base/model.safetensors has changed")
    assert (run / "lineage.json").read_bytes() == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_what_lies_beside_the_weights_is_read_again(
    name: str, cli: Cli, models: Models, work: Path
) -> None:
    shutil.copytree(models.folder / "tune" / "model", work / "base")
    run = begun(cli, models.fill(f"{TUNE} base=base"), work)
    moved_weights(work / "base" / "model.safetensors")
    longer(work / "base" / name)
    assert cli("resume run", folder=work).complaint.startswith(f"base/{name} has changed")
    assert cli("resume run accept_changes=true", folder=work).code == 0
    lineage = json.loads((run / "lineage.json").read_text())
    assert [entry["path"] for entry in lineage["accepted"]] == [f"base/{name}"]
    assert [entry["path"] for entry in lineage["not_read"]] == ["base/model.safetensors"]
    # the parent is the one that it began from
    assert lineage["parents"][0]["model_sha256"] == lineage["not_read"][0]["was"]
    assert cli("resume run", folder=work).code == 0


def test_weights_that_a_run_began_from_are_read_where_no_checkpoint_is_whole(
    cli: Cli, models: Models, work: Path
) -> None:
    shutil.copytree(models.folder / "tune" / "model", work / "base")
    run = begun(cli, [*models.fill(f"{TUNE} base=base"), "save_every_s=0"], work)
    moved_weights(work / "base" / "model.safetensors")
    for tensors in run.glob("checkpoints/*/tensors.safetensors"):
        flipped(tensors)
    again = "resume run from_start=true"
    assert cli(again, folder=work).complaint.startswith("base/model.safetensors has changed")
    assert cli(f"{again} accept_changes=true", folder=work).code == 0
    lineage = json.loads((run / "lineage.json").read_text())
    assert lineage["parents"][0]["model_sha256"] == lineage["accepted"][0]["now"]


@pytest.mark.parametrize("kind", [CONTROL_PPO, CONTROL_SAC])
@pytest.mark.slow
def test_an_agent_that_a_run_began_from_may_be_another_once_there_is_a_checkpoint(
    kind: str, cli: Cli, models: Models, work: Path
) -> None:
    assert cli(f"{kind} seed=1 out=base", folder=work).code == 0
    words = f"{kind} base=base save_every_s=0"
    assert cli(f"{words} out=whole", folder=work).code == 0
    run = begun(cli, words.split(), work)
    shutil.rmtree(work / "base")
    assert cli(f"{kind} seed=2 out=base", folder=work).code == 0
    resumed = cli("resume run", folder=work)
    assert resumed.code == 0, resumed.stderr
    assert ": run goes on with the weights of its last checkpoint." in resumed.stdout
    assert outcome(run) == outcome(work / "whole")
    assert "accepted" not in json.loads((run / "lineage.json").read_text())


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
