"""A run goes on with its own copy of its text, and its lineage keeps the hashes of what was
read.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.carry_on import check_inputs
from fledge.runs.folder import Allowed, Run
from fledge.runs.show import Show
from fledge.text.corpus import Corpus
from fledge.text.own_copy import keep_shards
from fledge.text.tokenizer import train_tokenizer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Of rows and of a text, which is in its shards."""
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("".join(f"sentence {number}.\n" for number in range(500)))
    Path("rows.jsonl").write_text("{}\n")
    rows, text = ["rows.jsonl"], ["c.txt"]
    with Run.create(Path("run"), "align", {}, seed=0, data=rows, copied=text) as made:
        tokenizer = train_tokenizer("bytes", [])
        keep_shards(made.folder / "shards", lambda: Corpus("c.txt"), tokenizer, pytest.fail)
        yield made


def hashes(run: Run) -> dict[str, str]:
    data = json.loads((run.folder / "lineage.json").read_text())["data"]
    return {entry["path"]: entry["sha256"] for entry in data}


def sha256(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def resumed(run: Run, *, accept: bool = False) -> str:
    """What is said when it goes on."""
    said = io.StringIO()
    run.allowed = Allowed(changes=accept)
    check_inputs(run, Show(Console(file=said, width=1000)))
    return said.getvalue()


def edit(name: str) -> None:
    Path(name).write_text(Path(name).read_text() + "more\n")


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("gone", [False, True])
def test_whole_shards_are_read_and_the_lineage_is_left(accept: bool, gone: bool, run: Run) -> None:
    before = (run.folder / "lineage.json").read_bytes()
    assert resumed(run, accept=accept) == ""
    Path("c.txt").unlink() if gone else edit("c.txt")
    changed = "is gone" if gone else "has changed"
    said = f"c.txt {changed}: run goes on with the copy in its shards/, which is whole.\n"
    assert resumed(run, accept=accept) == said
    assert (run.folder / "lineage.json").read_bytes() == before


def test_another_change_that_is_accepted_leaves_the_hash_of_the_text(run: Run) -> None:
    was = hashes(run)
    edit("c.txt")
    edit("rows.jsonl")
    with pytest.raises(UserError, match=r"^rows\.jsonl has changed: "):
        resumed(run)
    assert "rows.jsonl has changed: accepted" in resumed(run, accept=True)
    assert hashes(run) == {"rows.jsonl": sha256("rows.jsonl"), "c.txt": was["c.txt"]}
    (taken,) = run.lineage["accepted"]
    hashes_then_and_now = was["rows.jsonl"], sha256("rows.jsonl")
    assert (taken["path"], taken["was"], taken["now"]) == ("rows.jsonl", *hashes_then_and_now)
    assert resumed(Run(run.folder)).startswith("c.txt has changed: run goes on with the copy")


@pytest.mark.parametrize("name", ["train-00000.bin", "tokenizer.json"])
@pytest.mark.parametrize("accept", [False, True])
def test_damaged_shards_need_the_text_as_it_was(accept: bool, name: str, run: Run) -> None:
    before = (run.folder / "lineage.json").read_bytes()
    (run.folder / "shards" / name).unlink()
    assert resumed(run, accept=accept) == ""  # they are written again from a text that is as it was
    edit("c.txt")
    said = rf"^c\.txt has changed, and the run's own copy is damaged \(.*{name}"
    with pytest.raises(UserError, match=said):
        resumed(run, accept=accept)
    assert (run.folder / "lineage.json").read_bytes() == before


@pytest.mark.parametrize("spoil", [Path.unlink, lambda index: index.write_text("{")])
def test_without_an_index_the_text_is_read_again_and_another_has_to_be_accepted(
    spoil: Callable[[Path], object], run: Run
) -> None:
    spoil(run.folder / "shards" / "index.json")
    edit("c.txt")
    with pytest.raises(UserError, match=r"^c\.txt has changed: .*accept_changes=true"):
        resumed(run)
    assert "c.txt has changed: accepted" in resumed(run, accept=True)
    assert hashes(run)["c.txt"] == sha256("c.txt")
