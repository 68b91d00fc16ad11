"""What the documents say of the house is so: rooms, arrows, files, words, the release, and one
drawing.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fledge import __version__

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "fledge"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GUIDES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_arrows_are_those_that_are_held() -> None:
    [contract] = [
        one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    ]
    held = [layer.replace("fledge.", "") for layer in contract["layers"]]
    section = read("docs/architecture.md").split("## The arrows")[1]
    assert section.split("```")[1].strip().splitlines() == held
    more = len(PROJECT["tool"]["importlinter"]["contracts"]) - 1
    assert f"{ {4: 'Four', 5: 'Five', 6: 'Six'}[more] } more contracts" in section


def test_every_room_is_in_the_table_and_no_other() -> None:
    section = read("docs/architecture.md").split("## The rooms")[1].split("## ")[0]
    named = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[1:]
    rooms = {room for cell in named for room in re.findall(r"`(\w+)/`", cell)}
    assert rooms == {file.parent.name for file in SOURCE.glob("*/__init__.py")}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_file_that_is_named_is_there(guide: str) -> None:
    text = read(guide)
    named = re.findall(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.toml|\.md)|(?:[\w-]+/)+)`", text)
    named += re.findall(r"(?<![\w`/])((?:docs|benchmarks)/[\w-]+\.md)", text)
    assert len(named) > 10
    inside = {
        path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*") if path.suffix != ".pyc"
    }
    for name in named:
        plain = name.rstrip("/")
        if plain == "runs" or name in ("checkpoints/", "model/"):  # of a run
            continue
        there = (ROOT / plain).exists() or plain in inside
        assert there or any(path.endswith(f"/{plain}") for path in inside), name


def test_what_the_glossary_names_in_code_is_in_that_file() -> None:
    seen = 0
    for line in read("docs/glossary.md").splitlines():
        for file, name in re.findall(r"`([\w/]+\.py)` \(`(\w+)`\)", line):
            assert name in (SOURCE / file).read_text(), line
            seen += 1
    assert seen > 0


def test_a_word_of_the_glossary_stands_once_and_in_order() -> None:
    words = re.findall(r"^\| ([^|]+?) \|", read("docs/glossary.md"), re.MULTILINE)[1:]
    words = [word for word in words if set(word) != {"-"}]
    assert len(words) > 30
    assert words == sorted(set(words), key=str.lower)


def test_commands_of_make_that_contributors_are_told_exist() -> None:
    told = set(re.findall(r"^make (\w+)", read("CONTRIBUTING.md"), re.MULTILINE))
    told |= set(re.findall(r"`make (\w+)", read("README.md") + read("CONTRIBUTING.md")))
    targets = set(re.findall(r"^(\w+):", read("Makefile"), re.MULTILINE))
    assert told >= {"install", "test", "lint", "slow", "mutants", "demo"}
    assert told <= targets
    commands = read("CONTRIBUTING.md").split("## Eleven commands")[1].split("```")[1]
    assert len(commands.strip().splitlines()) == 11


def test_releases_are_in_order_and_the_newest_is_this_one() -> None:
    releases = re.findall(r"^## (\d+)\.(\d+)\.(\d+) \((.+)\)$", read("CHANGELOG.md"), re.MULTILINE)
    numbers = [tuple(map(int, release[:3])) for release in releases]
    assert numbers == sorted(numbers, reverse=True)
    assert ".".join(map(str, numbers[0])) == __version__
    assert "version" in PROJECT["project"]["dynamic"]  # it stands in one place
    for part in read("CHANGELOG.md").split("\n## ")[1:]:
        assert re.findall(r"^### (.+)$", part, re.MULTILINE) in (
            ["Added"], ["Added", "Changed", "Fixed"]
        )  # fmt: skip


def test_there_is_one_drawing_of_the_four_verbs() -> None:
    drawn = [
        file
        for file in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
        if "┌─ obs" in file.read_text()
    ]
    assert drawn == [ROOT / "README.md"]
    target = re.search(r"\(\.\./README\.md#([\w-]+)\)", read("docs/architecture.md"))
    assert target is not None
    headings = re.findall(r"^#+ (.+)$", read("README.md"), re.MULTILINE)
    assert target[1] in {heading.lower().replace(" ", "-") for heading in headings}
