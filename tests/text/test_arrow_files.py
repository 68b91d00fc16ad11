"""Text in .parquet and .zst: the same documents as in a .jsonl, and what is broken is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.text.corpus import Corpus
from fledge.text.documents import Place, read_documents, read_from
from fledge.text.folders import Passed

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"document {i}: " + "é word " * i for i in range(1, 3000)]


def write(folder: Path) -> None:
    """The same texts in three forms."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    (folder / "a.jsonl").write_bytes(lines)
    with arrow.CompressedOutputStream(str(folder / "b.jsonl.zst"), "zstd") as file:
        file.write(lines)
    parquet.write_table(arrow.table({"id": range(len(TEXTS)), "text": TEXTS}), folder / "c.parquet")


def test_the_same_documents_in_each_form(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("a.jsonl", "b.jsonl.zst", "c.parquet"):
        assert [each.text for each in read_documents(str(tmp_path / name))] == TEXTS, name
    [first, *_] = read_documents(str(tmp_path / "c.parquet"))
    assert first.source == f"{tmp_path / 'c.parquet'}:1"
    whole = [Corpus(str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl.zst", "c.parquet")]
    held = [[text.text for _, text in corpus.split("test")] for corpus in whole]
    assert held[0] == held[1] == held[2] != []


def test_reading_goes_on_from_a_place(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("b.jsonl.zst", "c.parquet"):
        fields = {"hidden": False, "links": "follow", "passed": Passed()}
        placed = list(read_from(Place(), str(tmp_path / name), **fields))  # type: ignore[arg-type]
        place = placed[2500][0]
        rest = read_from(place, str(tmp_path / name), **fields)  # type: ignore[arg-type]
        assert [each.text for _, each in rest] == TEXTS[2500:], name


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    for name, said in (
        ("b.jsonl.zst", "b.jsonl.zst is not a whole zst file"),
        ("c.parquet", "c.parquet is not a whole parquet file"),
    ):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-400])
        with pytest.raises(UserError, match=said):
            list(read_documents(str(path)))
    parquet.write_table(arrow.table({"words": ["a"]}), tmp_path / "d.parquet")
    with pytest.raises(UserError, match=r"d.parquet has no column `text` \(it has words\)"):
        list(read_documents(str(tmp_path / "d.parquet")))
