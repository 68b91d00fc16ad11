"""Linked folders are read once, hidden names and other kinds are passed over and counted, and a
sentence says so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.text.documents import read_documents
from fledge.text.folders import Links, Passed, text_files


def listed(
    folder: Path, passed: Passed | None = None, *, hidden: bool = False, links: Links = "follow"
) -> list[str]:
    files = text_files(folder, passed or Passed(), hidden=hidden, links=links)
    return [str(file.relative_to(folder)) for file in files]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_linked_folder_is_read_under_its_name(tmp_path: Path) -> None:
    write(tmp_path, "data/b.txt", "elsewhere/a.txt", "elsewhere/inner/c.md")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    assert listed(tmp_path / "data") == ["a.txt", "b.txt", "more/a.txt", "more/inner/c.md"]
    passed = Passed()
    assert listed(tmp_path / "data", passed, links="skip") == ["b.txt"]
    assert str(passed) == "passed over in the data: 2 links (links=follow reads them)"


def test_a_folder_is_read_once_and_by_its_own_path(tmp_path: Path) -> None:
    write(tmp_path, "z/real/a.txt", "other/b.txt")
    for name in ("a-link", "z/b-link", "z/real/itself"):
        (tmp_path / name).symlink_to(tmp_path / "z" / "real")
    (tmp_path / "z" / "first").symlink_to(tmp_path / "other")
    (tmp_path / "z" / "second").symlink_to(tmp_path / "other")
    for number in range(9):
        (tmp_path / "z" / f"later-{number}").symlink_to(tmp_path / "other")
    passed = Passed()
    assert listed(tmp_path / "z", passed) == ["first/b.txt", "real/a.txt"]
    assert str(passed) == "passed over in the data: 12 links to folders that are read already"


def test_links_that_go_round_end(tmp_path: Path) -> None:
    write(tmp_path, "data/deep/a.txt", "beside/secret.txt")
    (tmp_path / "data" / "deep" / "up").symlink_to("..")
    # the folder around the data, with all that is beside it
    (tmp_path / "data" / "out").symlink_to("..")
    (tmp_path / "data" / "itself").symlink_to("itself")
    (tmp_path / "data" / "nothing.txt").symlink_to("nowhere.txt")
    passed = Passed()
    assert listed(tmp_path / "data", passed) == ["deep/a.txt"]
    assert (passed.loops, passed.broken_links) == (2, 2)


def test_hidden_names_are_no_text_unless_they_are_asked_for(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.txt",
        ".ipynb_checkpoints/a-checkpoint.txt",
        "deep/.git/x.md",
        "deep/b.txt",
        ".DS_Store",
    )
    (tmp_path / "._a.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    passed = Passed()
    assert listed(tmp_path, passed) == ["a.txt", "deep/b.txt"]
    said = "passed over in the data: 2 hidden files, 2 hidden folders (hidden=true reads them)"
    assert str(passed) == said
    (tmp_path / "._a.txt").unlink()
    assert listed(tmp_path, hidden=True) == [
        ".ipynb_checkpoints/a-checkpoint.txt",
        "a.txt",
        "deep/.git/x.md",
        "deep/b.txt",
    ]
    named = tmp_path / ".ipynb_checkpoints"  # what the user names is read, whatever its name
    assert [document.text for document in read_documents(str(named))] == [
        ".ipynb_checkpoints/a-checkpoint.txt"
    ]


def test_other_kinds_are_counted_by_their_suffix(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b.pdf", "c.pdf", "d.csv", "e.jsonl.xz", "README", "F.TXT", "g.md.gz")
    passed = Passed()
    assert listed(tmp_path, passed) == ["F.TXT", "a.txt", "g.md.gz"]
    assert str(passed).startswith("passed over in the data: 5 files of other kinds (2 .pdf, 1 ")
    for kind in ("1 .csv", "1 .xz", "1 without a suffix"):
        assert kind in str(passed)


def test_a_folder_of_other_kinds_only_says_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf", ".hidden.txt")
    with pytest.raises(
        UserError, match=r"holds no text.*1 hidden file.*1 file of other kinds \(1 \.pdf\)"
    ):
        list(read_documents(str(tmp_path)))


def test_nothing_is_said_where_everything_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b/c.md")
    passed = Passed()
    listed(tmp_path, passed)
    assert str(passed) == ""
