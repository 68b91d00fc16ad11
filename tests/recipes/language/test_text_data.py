"""A run's text is written once, checked when the run is continued, and written again from what it
was made of or not at all.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.recipes.language.text_data import TextFields
from fledge.text.corpus import Corpus
from fledge.text.own_copy import keep_shards, load_whole_tokenizer
from fledge.text.tokenizer import Tokenizer, train_tokenizer

BYTES = train_tokenizer("bytes", [])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"sentence {number}.\n" for number in range(500)))
    return path


def keep(shards: Path, text: Path, tokenizer: Tokenizer = BYTES) -> list[str]:
    said: list[str] = []
    keep_shards(shards, lambda: Corpus(str(text)), tokenizer, said.append)
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def damage(shards: Path, name: str) -> None:
    content = bytearray((shards / name).read_bytes())
    content[len(content) // 2] ^= 1
    (shards / name).write_bytes(content)


def test_whole_shards_are_left_alone_and_the_text_is_not_read(text: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    assert keep(shards, text) == []
    before = contents(shards)
    text.unlink()
    assert keep(shards, text) == []
    assert contents(shards) == before
    kept = load_whole_tokenizer(shards)
    assert kept is not None
    assert kept.fingerprint() == BYTES.fingerprint()


@pytest.mark.parametrize(
    "name", ["train-00000.bin", "validation-00000.bin", "tokenizer.json", "index.json"]
)
def test_damaged_shards_are_written_again_from_the_same_text(
    name: str, text: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    keep(shards, text)
    before = contents(shards)
    damage(shards, name)
    (shards / "again").mkdir()  # a mending that was broken off
    assert load_whole_tokenizer(shards) is None
    said = keep(shards, text)
    assert any(name in line and "written again" in line for line in said)
    assert contents(shards) == before


def test_a_damaged_index_is_written_again_wherever_the_damage_is(
    text: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    keep(shards, text)
    before = contents(shards)
    for place in range(0, len(before["index.json"]), 97):
        content = bytearray(before["index.json"])
        content[place] ^= 1
        (shards / "index.json").write_bytes(content)
        keep(shards, text)
        # white space or a name of a field beside: nothing that counts
        if contents(shards) != before:
            assert load_whole_tokenizer(shards) is not None


def test_damaged_shards_of_a_text_that_has_changed_are_left_as_they_are(
    text: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    keep(shards, text)
    damage(shards, "train-00000.bin")
    before = contents(shards)
    whole = text.read_text()
    text.write_text(whole.replace("sentence 7.", "sentence 8."))
    with pytest.raises(
        UserError, match=r"train-00000\.bin is not as it was written, and .*put it back as it was"
    ):
        keep(shards, text)
    assert contents(shards) == before
    text.write_text(whole)
    keep(shards, text)
    assert load_whole_tokenizer(shards) is not None


def test_shards_of_another_tokenizer_are_not_trained_on(text: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    keep(shards, text)
    with pytest.raises(UserError, match="written with another tokenizer"):
        keep(shards, text, train_tokenizer("characters", [text.read_text()]))


def test_what_is_passed_over_is_said_and_can_be_had(text: Path, tmp_path: Path) -> None:
    (tmp_path / ".hidden.txt").write_text("hidden text")
    (tmp_path / "copy.txt").write_text(text.read_text())
    said: list[str] = []
    assert len(TextFields().read(str(tmp_path), said.append)) == 1
    assert len(said) == 2
    said.clear()
    assert len(TextFields(hidden=True, duplicates="keep").read(str(tmp_path), said.append)) == 3
    assert said == []


class Disk:
    """What a power cut would leave: files that were synced, by the names their folder had then."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.files: set[int] = set()
        self.names: dict[int, dict[str, int]] = {}
        self.vouched = 0
        sync, replace = os.fsync, Path.replace

        def noted_sync(descriptor: int) -> None:
            sync(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                entries = os.scandir(descriptor)
                self.names[status.st_ino] = {entry.name: entry.inode() for entry in entries}
            else:
                self.files.add(status.st_ino)

        def noted_replace(path: Path, target: Any) -> Path:
            if Path(target).name == "index.json":
                self.vouched += 1
                assert path.stat().st_ino in self.files
                assert self.holds(Path(target).parent, without=("index.json", "index.json.partial"))
            return replace(path, target)

        patched.setattr(os, "fsync", noted_sync)
        patched.setattr(Path, "replace", noted_replace)

    def holds(self, folder: Path, without: tuple[str, ...] = ()) -> bool:
        files = [file for file in folder.iterdir() if file.is_file() and file.name not in without]
        names = self.names.get(folder.stat().st_ino, {})
        numbers = {file.name: file.stat().st_ino for file in files}
        same = all(names.get(name) == number for name, number in numbers.items())
        return same and self.files >= set(numbers.values())


def test_the_index_vouches_for_nothing_that_a_power_cut_could_take(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, disk = tmp_path / "shards", Disk(monkeypatch)
    keep(shards, text)
    assert (disk.vouched, disk.holds(shards)) == (1, True)
    assert "shards" in disk.names[tmp_path.stat().st_ino]
    damage(shards, "train-00000.bin")
    disk.files.clear()
    disk.names.clear()
    keep(shards, text)
    assert (disk.vouched, disk.holds(shards)) == (3, True)
    assert {file.name for file in shards.iterdir()} >= {
        "index.json",
        "tokenizer.json",
        "train-00000.bin",
    }
