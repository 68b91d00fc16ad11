"""Rows of a user's own through the real command line: all of a file is checked before there is a
run, and what is left out is kept.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import ALIGN, PREFER, REWARD, TUNE, Cli, Models, outcome

LONG = "x" * 80  # longer than the context of 64 bytes
KINDS = {
    "tune": (TUNE.replace("{rows}", "given.jsonl"), {"answer": "yes"}, "answer"),
    "tune task": (
        TUNE.replace("data={rows}", "task=./given.jsonl evaluation_prompts=4"),
        {"answer": "yes"}, "answer",
    ),
    "reward": (
        REWARD.replace("{pairs}", "given.jsonl"), {"chosen": "yes", "rejected": "no"}, "chosen",
    ),
    "prefer": (
        PREFER.replace("{pairs}", "given.jsonl"), {"chosen": "yes", "rejected": "no"}, "chosen",
    ),
    "align": (ALIGN.replace("{letters}", "./given.jsonl"), {"answer": "yes"}, "answer"),
    "distill": (
        "distill teacher={tune} data=given.jsonl steps=2 rows_per_step=4 precision=fp32 compile=no",
        {"answer": "yes"}, "answer",
    ),
}  # fmt: skip


def write(path: Path, number: int, row: dict[str, str], changes: dict[int, dict[str, str]]) -> None:
    """changes: of the row on a line, from 1."""
    rows = [{"prompt": f"say {i}", **row} | changes.get(i + 1, {}) for i in range(number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_of_300_that_cannot_be_used_is_named_before_there_is_a_run(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, answer = KINDS[kind]
    write(tmp_path / "given.jsonl", 300, row, {201: {"prompt": LONG}, 250: {answer: ""}})
    said = cli(models.fill(command), folder=tmp_path).complaint
    assert "2 of the 300" in said
    assert "line 201" in said
    assert "an empty answer: 1, line 250" in said
    assert "bad_rows=skip" in said
    assert ("truncate=" in said) == (kind != "align")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["tune", "align"])
def test_rows_that_are_skipped_are_told_and_counted_in_the_summary(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, answer = KINDS[kind]
    write(
        tmp_path / "given.jsonl",
        40,
        row | {"source": "mine"},
        {20: {"prompt": LONG}, 7: {answer: " "}},
    )
    done = cli([*models.fill(command), "bad_rows=skip", "steps=2", "out=run"], folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "2 of the 40 rows of " in done.stdout
    assert "has keys that are not read: source" in done.stdout.replace("\n", " ")
    [counts] = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"].values()
    assert counts["read"] == 40
    assert counts["left_out"]["an empty answer"] == {"count": 1, "first_lines": [7]}
    assert sum(reason["count"] for reason in counts["left_out"].values()) == 2
    assert counts["keys_not_read"] == {"source": 40}


@pytest.mark.parametrize("side", ["left", "right"])
def test_long_rows_are_cut_where_they_may_be(
    side: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, _ = KINDS["prefer"]
    changes = {20: {"prompt": LONG}} if side == "left" else {20: {"chosen": LONG}}
    write(tmp_path / "given.jsonl", 40, row, changes)
    words = [*models.fill(command), f"truncate={side}", "steps=1", "out=run", "--json"]
    assert cli(words, folder=tmp_path).result["rows"]["given.jsonl"]["truncated"] == 1


@pytest.mark.parametrize("kind", ["tune", "prefer"])
def test_epochs_say_how_many_steps_they_are(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, _ = KINDS[kind]
    write(tmp_path / "given.jsonl", 19, row, {})  # too few to hold any out of, for tune
    words = [word for word in models.fill(command) if not word.startswith("steps=")]
    done = cli([*words, "epochs=3", "out=run"], folder=tmp_path)
    assert done.code == 0, done.stderr
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    last = [row for row in rows if "loss" in row][-1]
    assert last["epoch"] == pytest.approx(3)
    assert f"are {last['step']} steps" in done.stdout.replace("\n", " ")
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text())["config"]["steps"]
        == last["step"]
    )
    said = cli([*words, "epochs=3", "steps=5"], folder=tmp_path).complaint
    assert "steps=5 and epochs=3 were both given" in said


def test_epochs_of_a_task_without_end_are_refused(cli: Cli, models: Models, tmp_path: Path) -> None:
    said = cli(models.fill("tune base={pretrain} task=upper epochs=2"), folder=tmp_path).complaint
    assert "epochs=2 was given, and upper has examples without end" in said


def test_a_choice_among_nothing_is_refused(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert (
        "choices=[] leaves nothing to say"
        in cli([*models.fill("sample base={tune}"), "choices=[]"], folder=tmp_path).complaint
    )
    assert (
        "stop has an empty text"
        in cli([*models.fill("sample base={tune}"), "stop="], folder=tmp_path).complaint
    )


@pytest.mark.parametrize("kind", ["reward", "prefer", "align"])
def test_files_that_a_pattern_fits_teach_what_one_file_teaches(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, _ = KINDS[kind]
    write(tmp_path / "given.jsonl", 40, row, {})
    lines = (tmp_path / "given.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part-1.jsonl").write_text("".join(lines[:5]))  # too few by itself
    (tmp_path / "part-2.jsonl").write_text("".join(lines[5:]))
    for name, out in (("given", "one"), ("part-*", "several")):
        words = [*models.fill(command.replace("given", name)), "steps=2", f"out={out}"]
        done = cli(words, folder=tmp_path)
        assert done.code == 0, done.stderr
    assert outcome(tmp_path / "several") == outcome(tmp_path / "one")
    lineage = json.loads((tmp_path / "several" / "lineage.json").read_text())
    names = [Path(each["path"]).name for each in lineage["data"]]
    assert names == ["part-1.jsonl", "part-2.jsonl"]
    counts = json.loads((tmp_path / "several" / "summary.json").read_text())["rows"]
    assert {name: each["read"] for name, each in counts.items()} == dict(
        zip(names, (5, 35), strict=True)
    )


def test_several_files_by_a_pattern_are_in_the_lineage_and_a_new_one_is_noticed(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    command, row, _ = KINDS["tune"]
    write(tmp_path / "some-1.jsonl", 40, row, {})
    write(tmp_path / "some-2.jsonl", 40, row | {"answer": "no"}, {3: {"answer": ""}})
    words = [*models.fill(command.replace("given", "some-*")), "steps=2", "out=run"]
    assert "1 of the 40 rows of some-2.jsonl" in cli(words, folder=tmp_path).complaint
    killed = cli(
        [*words, "bad_rows=skip"], folder=tmp_path, signal=signal.SIGKILL,
        once=tmp_path / "run" / "metrics.jsonl",
    )  # fmt: skip
    assert killed.code == -signal.SIGKILL, killed.stderr
    write(tmp_path / "some-3.jsonl", 4, row, {})
    assert "some-3.jsonl is new" in cli("resume run", folder=tmp_path).complaint
    (tmp_path / "some-3.jsonl").unlink()
    done = cli("resume run", folder=tmp_path)
    assert done.code == 0, done.stderr
    counts = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    read = {name: each["read"] for name, each in counts.items()}
    assert read == {"some-1.jsonl": 40, "some-2.jsonl": 40}
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert [Path(each["path"]).name for each in lineage["data"]] == list(counts)
