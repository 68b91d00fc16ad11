"""Text comes in as it is, in pieces if it is long, and what is wrong is named with its place."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.text import files
from fledge.text.corpus import Corpus
from fledge.text.documents import DocumentPart, LongDocument, read_documents
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
    assert [document.source for document in documents] == [
        f"{tmp_path / 'a.jsonl'}:{line}" for line in (1, 3)
    ]
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


def test_a_pattern_is_all_files_that_fit_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b-2.txt", "b-1.md", "c.txt", "b-3.png"):
        (tmp_path / name).write_text(name)
    assert texts_of(f"{tmp_path / 'c.txt'},{tmp_path / 'b-[12].*'}") == [
        "c.txt",
        "b-1.md",
        "b-2.txt",
    ]
    with pytest.raises(UserError, match=r"b-3\.png is of a kind that is not read"):
        texts_of(tmp_path / "b-*")
    with pytest.raises(UserError, match=r"none-\*\.txt does not exist"):
        texts_of(tmp_path / "none-*.txt")


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
        (
            "a.txt.gz",
            gzip.compress(b"text" * 1000, mtime=0)[:12] + b"\xff" * 30,
            "not a whole gzip",
        ),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b'{"text": ""}\n', "is empty"),
        ("a.jsonl", b'{"text": "a"}\n' * 36 + b"{broken}\n", r"line 37 of .*a\.jsonl is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2 of .* has no `text` .it has `body`"),
        ("a.jsonl", b'{"text": 3}\n', "the `text` of line 1 .* is not a string"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": "\xff"}\n',
            r"byte 0xff at byte offset 24 \(line 2\)",
        ),
        ("a.jsonl", b'{"text": "\\udc00"}\n', "line 1 .* surrogate"),
        ("a.parquet.gz", b"", r"a\.parquet\.gz is parquet that was compressed once more: unpack"),
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
    ("data", "message"),
    [("nowhere.txt", "does not exist"), ("nowhere", "does not exist"), (",", "no data")],
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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    text=st.text(alphabet="a\ufeffé漢😀\n", min_size=1, max_size=40),
    size=st.integers(1, 9),
    packed=st.booleans(),
)
def test_a_file_in_pieces_is_the_file(text: str, size: int, packed: bool) -> None:
    content = text.encode("utf-8")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / ("a.txt.gz" if packed else "a.txt")
        path.write_bytes(gzip.compress(content) if packed else content)
        patch.setattr(files, "CHUNK", size)
        assert "".join(files.read_chunks(path)) == content.decode("utf-8-sig")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    text=st.text(alphabet="aé漢😀\n", max_size=30),
    size=st.integers(1, 9),
    wrong=st.sampled_from([b"\xff", b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80"]),
)
def test_what_is_not_utf8_is_named_with_its_place_wherever_a_piece_ends(
    text: str, size: int, wrong: bytes
) -> None:
    before = text.encode("utf-8")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.txt"
        path.write_bytes(before + wrong + b"\nmore")
        patch.setattr(files, "CHUNK", size)
        place = (
            rf"byte 0x{wrong[0]:x} at byte offset {len(before)} .line {text.count(chr(10)) + 1}."
        )
        with pytest.raises(UserError, match=place):
            list(files.read_chunks(path))


def test_a_long_file_is_one_document_that_is_read_again_each_time(tmp_path: Path) -> None:
    text = "".join(random.Random(0).choices("ab é😀\n", k=900_000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "b.txt").write_text("short")
    long, short = read_documents(str(tmp_path))
    assert isinstance(long, LongDocument)
    assert (short.text, long.text, long.text) == ("short", text, text)
    assert max(map(len, long.chunks())) <= files.CHUNK
    for start, stop in ((0, 5), (300_000, 800_000), (0, 900_000), (899_999, 900_000)):
        assert DocumentPart(long, start, stop).text == text[start:stop]
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n" * 600_000)
    with pytest.raises(UserError, match="is empty"):
        texts_of(blank)


def test_a_row_of_more_than_16_mebibytes_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    row = b'{"text": "' + b"a" * (2**24 - 12) + b'"}'  # 2^24 bytes
    (tmp_path / "fits.jsonl").write_bytes(row)
    assert len(texts_of(tmp_path / "fits.jsonl")[0]) == 2**24 - 12
    (tmp_path / "long.jsonl").write_bytes(b'{"text": "a"}\n' + row + b"\n")
    with pytest.raises(UserError, match=r"line 2 of .*long\.jsonl is longer than 16 MiB"):
        texts_of(tmp_path / "long.jsonl")
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 2**26))
    with pytest.raises(UserError, match="longer than 16 MiB"):
        texts_of(tmp_path / "bomb.jsonl.gz")


def test_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError, match="is a pipe or a device"):
        texts_of(tmp_path / "a.txt")


def test_the_embedded_default_is_about_two_megabytes_of_prose_without_sessions() -> None:
    start = time.process_time()
    prose = list(python_prose())
    assert time.process_time() - start < 60
    texts = [text for text, _ in prose]
    # Small installations come without sources and without the reference: the built-in modules alone
    # are 0.1 MB.
    assert sum(map(len, texts)) > (
        1_500_000 if any(source == "argparse" for _, source in prose) else 50_000
    )
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) >= SHORTEST
    assert not any(line.lstrip().startswith(">>>") for text in texts for line in text.split("\n"))
    assert not any("\n\n\n" in text for text in texts)
    assert not any(
        source.startswith(("test.", "idlelib", "lib2to3", "site-packages")) for _, source in prose
    )


def test_the_embedded_default_is_the_same_in_every_process() -> None:
    script = (
        "import hashlib; from fledge.text.documents import read_documents\n"
        "digest = hashlib.sha256()\n"
        "for d in read_documents('python'): digest.update(f'{d.source}\\0{d.text}\\0'.encode())\n"
        "print(digest.hexdigest())"
    )
    digest = hashlib.sha256()
    for document in read_documents("python"):
        digest.update(f"{document.source}\0{document.text}\0".encode())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", script]
    output = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert output.strip() == digest.hexdigest()


def test_public_corpora_are_read(data_file: Callable[[str], bytes], tmp_path: Path) -> None:
    book = data_file("text/tinyshakespeare.txt.gz")
    (tmp_path / "tinyshakespeare.txt").write_bytes(book)
    documents = list(read_documents(str(tmp_path)))
    assert [len(document.text) for document in documents] == [1_115_394]
    (_, train), *_ = Corpus(str(tmp_path)).split()
    # the training part of nanoGPT's data/shakespeare_char/prepare.py
    assert len(train.text) == 1_003_854
