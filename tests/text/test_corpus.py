"""The splits hold every document once, follow from the text alone, and are read from disk as often
as they are asked for.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.splits import SPLITS, Split, split_of
from fledge.text import files
from fledge.text.corpus import Corpus, DocumentChoice


def write_rows(path: Path, texts: Sequence[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def parts(corpus: Corpus) -> dict[Split, list[str]]:
    return {name: [document.text for _, document in corpus.split(name)] for name in SPLITS}


def test_copies_go_however_their_space_is_laid_out(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", ["a b", "c", "a  b\n", "ab", "c", "\ta b"])
    corpus = Corpus(data)
    assert [document.text for document in corpus.documents()] == ["a b", "c", "ab"]
    assert (len(corpus), corpus.duplicates) == (3, 3)
    assert any("3 documents are left out" in note for note in corpus.notes())
    kept = Corpus(data, DocumentChoice(duplicates="keep"))
    assert (len(kept), kept.notes()) == (6, [])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    texts=st.lists(
        st.text(alphabet="a \n", min_size=1, max_size=5)
        | st.text(alphabet="ab \x1c\x85\u2003é", min_size=1, max_size=12),
        min_size=1,
        max_size=12,
    ),
    size=st.integers(1, 7),
)
def test_copies_are_those_whose_words_are_the_same_wherever_a_piece_ends(
    texts: list[str], size: int
) -> None:
    texts = [text for text in texts if text.strip()] or ["a"]
    first = {" ".join(text.split()): text for text in reversed(texts)}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for number, text in enumerate(texts):
            (Path(folder) / f"{number:02}.txt").write_text(text, encoding="utf-8", newline="")
        patch.setattr(files, "CHUNK", size)
        kept = [document.text for document in Corpus(folder).documents()]
    assert sorted(kept) == sorted(first.values())


def test_a_document_stays_in_its_split_whatever_else_there_is(tmp_path: Path) -> None:
    many = [f"text {i}" for i in range(400)]
    corpora = [Corpus(write_rows(tmp_path / f"{step}.jsonl", many[::step])) for step in (1, 2)]
    assert [corpus.rules for corpus in corpora] == [["hash"], ["hash"]]
    whole, half = map(parts, corpora)
    for split in SPLITS:
        assert set(half[split]) <= set(whole[split])
        assert all(split_of(text) == split for text in whole[split])
    assert sorted(text for split in SPLITS for text in whole[split]) == sorted(many)
    assert [document.text for _, document in corpora[0].split()] == many  # in the order of reading


def test_a_long_document_is_in_the_split_of_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{number} " + "grün 漢\n" * 50 for number in range(200)]
    for number, text in enumerate(texts):
        (tmp_path / f"{number:02}.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(files, "CHUNK", 64)
    corpus = Corpus(str(tmp_path))
    assert corpus.rules == ["hash"]
    by_split = parts(corpus)
    assert {text: split for split in SPLITS for text in by_split[split]} == {
        text: split_of(text) for text in texts
    }


def test_a_single_book_is_cut_at_90_and_95_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = "".join(chr(0x4E00 + i) for i in range(1000))
    (tmp_path / "book.txt").write_text(book, encoding="utf-8")
    for size in (files.CHUNK, 100):
        monkeypatch.setattr(files, "CHUNK", size)
        corpus = Corpus(str(tmp_path / "book.txt"))
        assert corpus.rules == ["cut"]
        assert parts(corpus) == {
            "train": [book[:900]],
            "validation": [book[900:950]],
            "test": [book[950:]],
        }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.text(alphabet="abé ", min_size=1, max_size=30), min_size=1, max_size=19),
    st.integers(1, 50),
)
def test_a_cut_loses_and_repeats_nothing(texts: list[str], size: int) -> None:
    texts = [text for text in texts if text.strip()] or ["a"]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for number, text in enumerate(texts):
            (Path(folder) / f"{number:02}.txt").write_text(text, encoding="utf-8")
        patch.setattr(files, "CHUNK", size)
        split = parts(Corpus(folder, DocumentChoice(duplicates="keep")))
    assert "".join(text for name in SPLITS for text in split[name]) == "".join(texts)
    assert all(text for name in SPLITS for text in split[name])
    total = sum(map(len, texts))
    assert sum(map(len, split["train"])) == total * 9 // 10
    assert sum(map(len, split["validation"])) == total * 95 // 100 - total * 9 // 10


def test_no_split_is_empty_when_there_are_documents_enough_to_hash(tmp_path: Path) -> None:
    unlucky = [text for text in (f"text {i}" for i in range(60)) if split_of(text) == "train"][:30]
    corpus = Corpus(write_rows(tmp_path / "a.jsonl", unlucky))
    assert corpus.rules == ["cut"]
    assert all(parts(corpus).values())


@pytest.mark.parametrize("change", ["grown", "another", "gone"])
def test_files_that_change_while_they_are_read_are_a_user_error(
    change: str, tmp_path: Path
) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    corpus = Corpus(str(tmp_path))
    if change == "grown":
        (tmp_path / "29.txt").write_text("text 29 and more")
    elif change == "another":
        (tmp_path / "30.txt").write_text("text 30")
    else:
        (tmp_path / "29.txt").unlink()
    for ask in (corpus.documents, corpus.split, lambda: corpus.split("test")):
        with pytest.raises(UserError, match="changed while they were read"):
            list(ask())


def test_what_is_kept_of_a_document_does_not_grow_with_it(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("abc \n", k=rng.randrange(1, 4000))) + "x" for _ in range(300)]
    corpus = Corpus(write_rows(tmp_path / "a.jsonl", texts))
    assert corpus._sides.nbytes == 300
