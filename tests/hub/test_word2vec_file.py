"""Files of word vectors: bytes written by hand, ours read again and by gensim, and what is no such
file.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.hub.word2vec_file import read_word2vec, write_word2vec
from fledge.models.language.word_vectors import WordVectors

VECTORS = torch.tensor([[0.1, -2.5e-8, 3.0], [1 / 3, 7.0, -1e10]])
HELD = WordVectors(("naïve", "日本"), VECTORS)
ROW = struct.pack("<2f", 1.5, -2.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("word2vec.txt", b"2 2\na 1.5 -2\nb 0 1\n"),
        ("fasttext.vec", b"2 2\na 1.5 -2 \nb 0 1 \n"),
        ("glove.txt", b"a 1.5 -2\nb 0 1\n"),
        ("twice.txt", b"3 2\na 1.5 -2\na 9 9\nb 0 1\n"),
        ("word2vec.bin", b"2 2\na " + ROW + b"\nb " + struct.pack("<2f", 0, 1) + b"\n"),
        ("gensim.bin", b"2 2\na " + ROW + b"b " + struct.pack("<2f", 0, 1)),
    ],
)
def test_files_of_others(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    held = read_word2vec(tmp_path / name)
    assert held.words == ("a", "b")
    assert held.vectors.tolist() == [[1.5, -2.0], [0.0, 1.0]]


@pytest.mark.parametrize("name", ["own.bin", "own.vec"])
def test_ours_come_back_with_the_same_bits_from_gensim_too(name: str, tmp_path: Path) -> None:
    write_word2vec(tmp_path / name, HELD)
    again = read_word2vec(tmp_path / name)
    assert again.words == HELD.words
    assert torch.equal(again.vectors, VECTORS)
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    theirs = keyed.load_word2vec_format(tmp_path / name, binary=name.endswith("bin"))
    assert tuple(theirs.index_to_key) == HELD.words
    assert (theirs.vectors == VECTORS.numpy()).all()
    theirs.save_word2vec_format(tmp_path / f"their-{name}", binary=name.endswith("bin"))
    assert torch.equal(read_word2vec(tmp_path / f"their-{name}").vectors, VECTORS)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"2 2\na 1.5 -2\nb 0\n", "line 3: not a word and 2 numbers"),
        ("a.txt", b"3 2\na 1.5 -2\nb 0 1\n", "ends after 2 of 3 words"),
        ("a.txt", b"2 2\na 1.5 x\n", "line 2: not a word and 2 numbers"),
        ("a.txt", b"\xff\xfe1\n", "not a word"),
        ("a.txt", b"", "has no vectors"),
        ("a.bin", b"2 2\na " + ROW + b"\nb \0\0", "was cut short"),
        ("a.bin", b"a 1.5 -2\n", "no binary file"),
        ("a.bin", b"", "no binary file"),
        ("b.txt", None, "there is no file"),
    ],
)
def test_what_is_no_such_file(
    name: str, content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_word2vec(tmp_path / name)
