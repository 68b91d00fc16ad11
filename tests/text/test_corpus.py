"""Text comes in as it is, what is wrong is named with its place, and the splits hold everything once."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.splits import SPLITS, split_of
from fledge.text.corpus import Document, deduplicate, read_documents, split_documents, split_rule
from fledge.text.python_prose import SHORTEST, python_prose


def texts_of(data: str | Path) -> list[str]:
    return [document.text for document in read_documents(str(data))]


def test_text_is_kept_as_it_is_but_for_the_byte_order_mark(tmp_path: Path) -> None:
    text = "one\r\ntwo\r\n\ttrès 😀\x00 \n\n"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert texts_of(tmp_path / "a.txt") == [text]
    (tmp_path / "b.md").write_bytes(f"a\ufeff{text}".encode())
    assert texts_of(tmp_path / "b.md") == [f"a\ufeff{text}"]


@pytest.mark.parametrize("suffix", [".txt", ".md", ".TXT"])
def test_gzipped_text_reads_as_plain_text(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}.gz").write_bytes(gzip.compress("grün\n".encode()))
    assert texts_of(tmp_path / f"a{suffix}.gz") == ["grün\n"]


def test_every_row_of_a_jsonl_is_a_document(tmp_path: Path) -> None:
    content = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in ("a\nb", "", "c"))
    (tmp_path / "a.jsonl").write_text(content)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    documents = list(read_documents(str(tmp_path / "a.jsonl")))
    assert [document.text for document in documents] == ["a\nb", "c"]
    assert [document.source for document in documents] == [f"{tmp_path / 'a.jsonl'}:{line}" for line in (1, 3)]
    assert texts_of(tmp_path / "b.jsonl.gz") == ["a\nb", "c"]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/y.txt", "c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": name}) if name.endswith("jsonl") else name)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "blank.txt").write_text(" \n")
    assert texts_of(tmp_path) == ["a/y.txt", "a/z.md", "b.txt", "c.jsonl"]


def test_several_files_stand_with_commas_between(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    assert texts_of(f"{tmp_path / 'b.txt'}, {tmp_path / 'a.txt'}") == ["b", "a"]
    (tmp_path / "a,b.txt").write_text("a comma")
    assert texts_of(tmp_path / "a,b.txt") == ["a comma"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\xef\xbb\xbf \n", "is empty"),
        ("a.txt", b"ab\ncd\n\xffef", r"a\.txt is not UTF-8: byte 0xff at byte offset 6 \(line 3\)"),
        ("a.txt", "text".encode("utf-16"), "not UTF-8.*looks like UTF-16"),
        ("a.txt", b"ab\n\xe2\x82", r"byte offset 3 \(line 2\)"),
        ("a.txt.gz", b"not gzip", "not a whole gzip"),
        ("a.txt.gz", gzip.compress(b"text" * 1000, mtime=0)[:-12], "not a whole gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000, mtime=0)[:-5], "not a whole gzip"),
        ("a.txt.gz", gzip.compress(b"text" * 1000, mtime=0)[:12] + b"\xff" * 30, "not a whole gzip"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b'{"text": ""}\n', "is empty"),
        ("a.jsonl", b'{"text": "a"}\n' * 36 + b"{broken}\n", r"line 37 of .*a\.jsonl is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2 of .* has no `text` .it has `body`"),
        ("a.jsonl", b'{"text": 3}\n', "the `text` of line 1 .* is not a string"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"byte 0xff at byte offset 24 \(line 2\)"),
        ("a.jsonl", b'{"text": "\\udc00"}\n', "line 1 .* surrogate"),
        ("a.pdf", b"%PDF", "of a kind that is not read"),
    ],
)
def test_a_wrong_file_is_a_user_error_that_names_the_place(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        texts_of(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "message"), [("nowhere.txt", "does not exist"), ("nowhere", "does not exist"), (",", "no data")]
)
def test_missing_data_is_a_user_error(data: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts_of(data)


def test_a_folder_without_text_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no text"):
        texts_of(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="is empty"):
        texts_of(tmp_path)


def test_a_jsonl_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "first"}\nbroken\n')
    assert next(read_documents(str(tmp_path / "a.jsonl"))).text == "first"


def test_copies_go_however_their_space_is_laid_out() -> None:
    documents = [Document(text, str(i)) for i, text in enumerate(["a b", "c", "a  b\n", "ab", "c"])]
    assert [document.source for document in deduplicate(documents)] == ["0", "1", "3"]


def test_a_document_stays_in_its_split_whatever_else_there_is() -> None:
    many = [Document(f"text {i}", "") for i in range(400)]
    whole, half = split_documents(many), split_documents(many[::2])
    assert split_rule(many) == split_rule(many[::2]) == "hash"
    for split in SPLITS:
        assert set(half[split]) <= set(whole[split])
    assert sorted(d.text for split in SPLITS for d in whole[split]) == sorted(d.text for d in many)


def test_a_single_book_is_cut_at_90_and_95_percent() -> None:
    book = "".join(chr(0x4E00 + i) for i in range(1000))
    split = split_documents([Document(book, "book")])
    assert split_rule([Document(book, "book")]) == "cut"
    assert [split[name][0].text for name in SPLITS] == [book[:900], book[900:950], book[950:]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=30), max_size=19))
def test_a_cut_loses_and_repeats_nothing(texts: list[str]) -> None:
    split = split_documents([Document(text, str(i)) for i, text in enumerate(texts)])
    parts = [document.text for name in SPLITS for document in split[name]]
    assert "".join(parts) == "".join(texts)
    assert all(parts)
    assert sum(len(d.text) for d in split["train"]) == sum(map(len, texts)) * 9 // 10


def test_no_split_is_empty_when_there_are_documents_enough_to_hash() -> None:
    unlucky = [d for d in (Document(f"text {i}", "") for i in range(60)) if split_of(d.text) == "train"][:30]
    split = split_documents(unlucky)
    assert split_rule(unlucky) == "cut"
    assert all(split[name] for name in SPLITS)


def test_the_embedded_default_is_about_two_megabytes_of_prose_without_sessions() -> None:
    start = time.perf_counter()
    prose = list(python_prose())
    assert time.perf_counter() - start < 60
    texts = [text for text, _ in prose]
    # Small installations come without sources and without the reference: the built-in modules alone are 0.1 MB.
    assert sum(map(len, texts)) > (1_500_000 if any(source == "argparse" for _, source in prose) else 50_000)
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) >= SHORTEST
    assert not any(line.lstrip().startswith(">>>") for text in texts for line in text.split("\n"))
    assert not any("\n\n\n" in text for text in texts)
    assert not any(source.startswith(("test.", "idlelib", "lib2to3", "site-packages")) for _, source in prose)


def test_the_embedded_default_is_the_same_in_every_process() -> None:
    script = (
        "import hashlib; from fledge.text.corpus import read_documents; digest = hashlib.sha256()\n"
        "for d in read_documents('python'): digest.update(f'{d.source}\\0{d.text}\\0'.encode())\n"
        "print(digest.hexdigest())"
    )
    digest = hashlib.sha256()
    for document in read_documents("python"):
        digest.update(f"{document.source}\0{document.text}\0".encode())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert output.strip() == digest.hexdigest()


def test_public_corpora_are_read(data_file: Callable[[str], bytes], tmp_path: Path) -> None:
    book = data_file("text/tinyshakespeare.txt.gz")
    (tmp_path / "tinyshakespeare.txt").write_bytes(book)
    documents = list(read_documents(str(tmp_path)))
    assert [len(document.text) for document in documents] == [1_115_394]
    split = split_documents(documents)
    assert len(split["train"][0].text) == 1_003_854  # the training part of nanoGPT's data/shakespeare_char/prepare.py
