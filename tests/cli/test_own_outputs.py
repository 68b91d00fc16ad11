"""What a command is asked to write takes the place of its own earlier output, and of nothing
else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models

LADDER = "ladder gridworld samples=1000"
PAGES = {
    "report {pretrain}": "report",
    LADDER: "ladder",
    "verify loss.py samples=100": "verify",
}


@pytest.mark.parametrize("command", PAGES)
@pytest.mark.parametrize("name", ["thesis.html", "photo.png"])
def test_a_page_takes_no_place_of_a_file_of_the_users(
    name: str, command: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    theirs = tmp_path / name
    theirs.write_bytes(
        b"\x89PNG\r\n"
        if name.endswith("png")
        else b"<html><head><title>Thesis</title></head></html>"
    )
    (tmp_path / "loss.py").write_text("def loss(logp, batch):\n    return -logp * batch.reward\n")
    before = theirs.read_bytes()
    refused = cli([*models.fill(command), f"out={name}"], folder=tmp_path).complaint
    assert (
        f"`{name}` is there already and is no page of `fledge {PAGES[command]}`: choose another "
        "`out`"
    ) in refused
    assert theirs.read_bytes() == before


def test_a_page_takes_the_place_of_an_earlier_one_of_its_kind(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill("report {pretrain}"), "out=page.html"]
    assert cli(words, folder=tmp_path).code == 0
    assert cli(words, folder=tmp_path).code == 0
    page = tmp_path / "page.html"
    assert "page of `fledge ladder`" in cli(f"{LADDER} out=page.html", folder=tmp_path).complaint
    earlier = page.read_text().replace('  <meta name="generator" content="fledge report">\n', "")
    page.write_text(earlier)  # as versions wrote it that had no mark
    assert cli(words, folder=tmp_path).code == 0
    assert page.read_text() != earlier


def test_a_tokenizer_takes_no_place_of_one_that_a_model_or_a_corpus_goes_by(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    shutil.copytree(models.folder / "pretrain", tmp_path / "run")
    train = models.fill("tokenizer train data={text} kind=characters")
    for out in ("run", "run/model", "run/shards"):
        before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*.json")}
        assert "choose another `out`" in cli([*train, f"out={out}"], folder=tmp_path).complaint
        assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*.json")} == before
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}}))
    assert "has not written" in cli([*train, "out=foreign"], folder=tmp_path).complaint
    for _ in range(2):
        assert cli([*train, "out=mine"], folder=tmp_path).code == 0
